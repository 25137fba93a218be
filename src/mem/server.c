/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/server.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define UFFDS_MAX 4096
#define POLL_MAX (1 + SERVER_WATCHES_MAX + UFFDS_MAX)
#define RETRY_MS 20
/* Faults come in bursts, and who waits for one waits for whatever this thread is at, and for its
 * waking up: for that long after a fault it does nothing else than looking for the next. */
#define BURST_NS 200000
#define WISHES_MAX 16

struct server {
	struct server_config config; /* the thread's own */
	pthread_t thread;
	struct thread_priority priority;
	int wake, event; /* owned eventfds */
	pthread_mutex_t lock; /* of the two below */
	bool stop;
	struct err error;
	bool told; /* the thread's own: the event was raised */
	uint64_t burst_until; /* the thread's own: it has just answered a fault */
	struct pollfd polled[POLL_MAX];
	int uffds[UFFDS_MAX];
};

static bool must_stop(struct server *s)
{
	bool r;

	pthread_mutex_lock(&s->lock);
	r = s->stop;
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void tell(struct server *s, const struct err *e)
{
	pthread_mutex_lock(&s->lock);
	if (e)
		s->error = *e;
	pthread_mutex_unlock(&s->lock);
	s->told = true;
	eventfd_write(s->event, 1);
}

/* Fills the poll list: wake-up, watches, userfaultfds. */
static size_t list_fds(struct server *s)
{
	size_t n = 0, n_uffds = pager_fds(s->config.pager, s->uffds, UFFDS_MAX);

	s->polled[n++] = (struct pollfd){.fd = s->wake, .events = POLLIN};
	for (size_t i = 0; i < SERVER_WATCHES_MAX; i++)
		s->polled[n++] = (struct pollfd){.fd = s->config.watches[i].fd, .events = POLLIN};
	for (size_t i = 0; i < n_uffds; i++)
		s->polled[n++] = (struct pollfd){.fd = s->uffds[i], .events = POLLIN};
	return n;
}

static int serve_faults(struct server *s, size_t n, struct err *e)
{
	struct pager_wish wishes[WISHES_MAX];

	for (size_t i = 1 + SERVER_WATCHES_MAX; i < n; i++) {
		int k;

		if (!s->polled[i].revents)
			continue;
		s->burst_until = clock_now() + BURST_NS;
		k = pager_serve(s->config.pager, s->polled[i].fd, wishes, WISHES_MAX, e);
		for (int w = 0; w < k; w++) {
			int r = s->config.ask(s->config.ask_ctx, &wishes[w], e);

			if (r < 0)
				return r;
		}
		if (k < 0)
			return k;
	}
	return 0;
}

static int serve_watches(struct server *s, struct err *e)
{
	for (size_t i = 0; i < SERVER_WATCHES_MAX; i++) {
		struct server_watch *w = &s->config.watches[i];
		int r;

		if (w->fd < 0 || !s->polled[1 + i].revents)
			continue;
		r = w->ready(w->ctx, e);
		if (r < 0)
			return r;
		if (r == 1)
			w->fd = -1;
	}
	return 0;
}

static int run_once(struct server *s, struct err *e)
{
	bool more = clock_now() < s->burst_until || pager_step(s->config.pager);
	size_t n = list_fds(s);
	int r = poll(s->polled, n, more ? 0 : RETRY_MS);

	thread_breathe();
	if (r < 0)
		return errno == EINTR ? 0 : err_sys(e, errno, "poll in the fault server");
	if (r == 0) {
		if (!more)
			pager_retry(s->config.pager);
		return 0;
	}
	if (s->polled[0].revents) {
		eventfd_t v;

		eventfd_read(s->wake, &v);
	}
	r = serve_faults(s, n, e);
	return r < 0 ? r : serve_watches(s, e);
}

static void *run(void *arg)
{
	struct server *s = arg;
	struct err e = ERR_INIT;

	thread_priority_begin(&s->priority);
	while (!must_stop(s)) {
		if (run_once(s, &e) < 0) {
			tell(s, &e);
			return NULL;
		}
		if (!s->told && pager_done(s->config.pager))
			tell(s, NULL);
	}
	return NULL;
}

int server_start(const struct server_config *c, struct server **ret, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_sys(e, ENOMEM, "fault server");
	s->config = *c;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pager_set_wake(s->config.pager, s->wake);
	pthread_mutex_init(&s->lock, NULL);
	r = s->wake < 0 || s->event < 0 ? EMFILE : pthread_create(&s->thread, NULL, run, s);
	if (r != 0) {
		pager_set_wake(s->config.pager, -1);
		fd_close(&s->wake);
		fd_close(&s->event);
		free(s);
		return err_sys(e, r, "starting the fault server");
	}
	*ret = s;
	return 0;
}

int server_event_fd(const struct server *s)
{
	return s->event;
}

void server_give_way(struct server *s, bool on)
{
	thread_priority_set(&s->priority, on);
}

int server_result(struct server *s, struct err *e)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = err_is_set(&s->error) ? -s->error.code : 0;
	if (r < 0 && e)
		*e = s->error;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake, 1);
	pthread_join(s->thread, NULL);
	pager_set_wake(s->config.pager, -1);
	fd_close(&s->wake);
	fd_close(&s->event);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
