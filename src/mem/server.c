/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/server.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define UFFDS_MAX 4096
#define POLL_MAX (1 + SERVER_WATCHES_MAX + UFFDS_MAX)
#define RETRY_MS 20
#define TICK_NS NSEC_PER_SEC
/* Faults come in bursts, and who waits for one waits for whatever this loop is at, and for its
 * waking up: for that long after a fault it does nothing else than looking for the next. */
#define BURST_NS 200000
#define WISHES_MAX 16

struct server {
	struct server_config config;
	struct server_watch watches[SERVER_WATCHES_MAX];
	size_t turn; /* the watch after the last one in turn */
	size_t at[SERVER_WATCHES_MAX], first_uffd; /* in @polled; 0: not there */
	int wake; /* owned eventfd */
	atomic_bool stop;
	bool told; /* done() was called */
	uint64_t burst_until; /* it has just answered a fault */
	uint64_t tick_at;
	struct pollfd polled[POLL_MAX];
	int uffds[UFFDS_MAX];
};

/* Fills the poll list: wake-up, watches, userfaultfds. */
static size_t list_fds(struct server *s)
{
	size_t n = 0, n_uffds = pager_fds(s->config.pager, s->uffds, UFFDS_MAX);

	s->polled[n++] = (struct pollfd){.fd = s->wake, .events = POLLIN};
	for (size_t i = 0; i < SERVER_WATCHES_MAX; i++) {
		s->at[i] = s->watches[i].fd >= 0 ? n : 0;
		if (s->at[i] > 0)
			s->polled[n++] = (struct pollfd){.fd = s->watches[i].fd, .events = POLLIN};
	}
	s->first_uffd = n;
	for (size_t i = 0; i < n_uffds; i++)
		s->polled[n++] = (struct pollfd){.fd = s->uffds[i], .events = POLLIN};
	return n;
}

static int failed(struct server *s, int r, struct err *e)
{
	if (s->config.failed)
		r = s->config.failed(s->config.ctx, e);
	if (r >= 0)
		*e = ERR_INIT;
	return r;
}

static int serve_faults(struct server *s, size_t n, struct err *e)
{
	struct pager_wish wishes[WISHES_MAX];

	for (size_t i = s->first_uffd; i < n; i++) {
		int k;

		if (!s->polled[i].revents)
			continue;
		s->burst_until = clock_now() + BURST_NS;
		k = pager_serve(s->config.pager, s->polled[i].fd, wishes, WISHES_MAX, e);
		for (int w = 0; w < k; w++)
			s->config.ask(s->config.ctx, &wishes[w]);
		if (k < 0 && failed(s, k, e) < 0)
			return k;
	}
	return 0;
}

static int serve_watch(struct server *s, size_t i, struct err *e)
{
	struct server_watch *w = &s->watches[i];
	int fd = w->fd, r = w->ready(w->ctx, e);

	if (r == 1 && w->fd == fd)
		w->fd = -1;
	return r < 0 ? r : 0;
}

static bool is_ready(const struct server *s, size_t i)
{
	return s->at[i] > 0 && s->watches[i].fd >= 0 && s->polled[s->at[i]].revents;
}

static int serve_watches(struct server *s, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < SERVER_WATCHES_MAX; i++)
		if (is_ready(s, i) && !s->watches[i].in_turn)
			r = serve_watch(s, i, e);
	for (size_t k = 0; r == 0 && k < SERVER_WATCHES_MAX; k++) {
		size_t i = (s->turn + k) % SERVER_WATCHES_MAX;

		if (!is_ready(s, i) || !s->watches[i].in_turn)
			continue;
		s->turn = i + 1;
		return serve_watch(s, i, e);
	}
	return r;
}

static int serve_polled(struct server *s, size_t n, struct err *e)
{
	int r;

	if (s->polled[0].revents) {
		eventfd_t v;

		eventfd_read(s->wake, &v);
	}
	r = serve_faults(s, n, e);
	return r < 0 ? r : serve_watches(s, e);
}

static int tick(struct server *s, struct err *e)
{
	if (!s->config.tick || clock_now() < s->tick_at)
		return 0;
	s->tick_at = clock_now() + TICK_NS;
	return s->config.tick(s->config.ctx, e);
}

static int run_once(struct server *s, struct err *e)
{
	bool more = clock_now() < s->burst_until || pager_step(s->config.pager);
	size_t n = list_fds(s);
	int r = poll(s->polled, n, more ? 0 : RETRY_MS);

	thread_breathe();
	if (r < 0 && errno != EINTR)
		return failed(s, err_sys(e, errno, "poll in the fault server"), e);
	if (r > 0)
		r = serve_polled(s, n, e);
	else if (!more)
		pager_retry(s->config.pager);
	return r < 0 ? r : tick(s, e);
}

int server_run(struct server *s, struct err *e)
{
	int r = 0;

	while (r == 0 && !atomic_load(&s->stop)) {
		r = run_once(s, e);
		if (r >= 0 && !s->told && pager_done(s->config.pager)) {
			s->told = true;
			if (s->config.done)
				s->config.done(s->config.ctx);
		}
	}
	return r < 0 ? r : 0;
}

int server_new(const struct server_config *c, struct server **ret, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return err_sys(e, ENOMEM, "fault server");
	s->config = *c;
	for (size_t i = 0; i < SERVER_WATCHES_MAX; i++)
		s->watches[i].fd = -1;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake < 0) {
		free(s);
		return err_sys(e, errno, "fault server");
	}
	pager_set_wake(s->config.pager, s->wake);
	*ret = s;
	return 0;
}

void server_watch(struct server *s, size_t i, const struct server_watch *w)
{
	s->watches[i] = *w;
}

void server_stop(struct server *s)
{
	atomic_store(&s->stop, true);
	eventfd_write(s->wake, 1);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	pager_set_wake(s->config.pager, -1);
	fd_close(&s->wake);
	free(s);
}
