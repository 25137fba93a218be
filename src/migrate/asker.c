/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/asker.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/thread.h"
#include "migrate/bulk.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* Faults come in bursts: for that long it looks for the next wish or answer without sleeping. */
#define BURST_NS 200000

struct asker {
	struct channel channel; /* owned; the thread's alone */
	struct keeper *keeper;
	pthread_t thread;
	int stop, event;      /* owned eventfds */
	pthread_mutex_t lock; /* of the error */
	struct err error;
};

static int pass_wishes(struct asker *a, struct err *e)
{
	struct pager_wish w;
	int r;

	while ((r = keeper_next_wish(a->keeper, &w)) == 1) {
		struct msg_fault m = {.vpid = w.vpid, .pages = w.pages, .addr = w.addr};

		if (FAULT(target_wish, e) < 0)
			return -e->code;
		r = channel_send(&a->channel, MSG_FAULT, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
		if (r < 0)
			return r;
	}
	return r < 0 ? keeper_error(r, "wishes of the keeper", e) : 0;
}

static int pass_answers(struct asker *a, struct err *e)
{
	do {
		struct msg m;
		int r = channel_recv(&a->channel, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

		if (r == 0)
			r = bulk_take(keeper_urgent_line(a->keeper), &m, e);
		msg_done(&m);
		if (r < 0)
			return r;
	} while (transport_pending(a->channel.transport));
	return 0;
}

/* 1 when it is to end. */
static int step(struct asker *a, uint64_t *burst_until, struct err *e)
{
	bool burst = clock_now() < *burst_until;
	struct pollfd p[] = {
		{.fd = a->stop, .events = POLLIN},
		{.fd = keeper_wish_fd(a->keeper), .events = POLLIN},
		{.fd = transport_fd(a->channel.transport), .events = POLLIN},
	};
	int r = poll(p, 3, burst ? 0 : -1);

	thread_breathe();
	if (r < 0)
		return errno == EINTR ? 0 : err_sys(e, errno, "poll for faults");
	if (p[0].revents)
		return 1;
	if (r > 0)
		*burst_until = clock_now() + BURST_NS;
	r = p[1].revents ? pass_wishes(a, e) : 0;
	return r == 0 && p[2].revents ? pass_answers(a, e) : r;
}

static void *run(void *arg)
{
	struct asker *a = arg;
	struct err e = ERR_INIT;
	uint64_t burst_until = 0;
	int r;

	thread_come_first();
	do
		r = step(a, &burst_until, &e);
	while (r == 0);
	if (r < 0) {
		pthread_mutex_lock(&a->lock);
		a->error = e;
		pthread_mutex_unlock(&a->lock);
		eventfd_write(a->event, 1);
	}
	return NULL;
}

int asker_start(struct channel *c, struct keeper *k, struct asker **ret, struct err *e)
{
	struct asker *a = calloc(1, sizeof(*a));
	int r;

	if (!a) {
		channel_done(c);
		return err_sys(e, ENOMEM, "asking for pages");
	}
	a->channel = *c;
	a->keeper = k;
	a->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	a->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&a->lock, NULL);
	r = a->stop < 0 || a->event < 0 ? EMFILE : pthread_create(&a->thread, NULL, run, a);
	if (r == 0) {
		*ret = a;
		return 0;
	}
	fd_close(&a->stop);
	fd_close(&a->event);
	channel_done(&a->channel);
	free(a);
	return err_sys(e, r, "starting to ask for pages");
}

int asker_event_fd(const struct asker *a)
{
	return a->event;
}

int asker_result(struct asker *a, struct err *e)
{
	int r;

	pthread_mutex_lock(&a->lock);
	r = err_is_set(&a->error) ? -a->error.code : 0;
	if (r < 0 && e)
		*e = a->error;
	pthread_mutex_unlock(&a->lock);
	return r;
}

void asker_free(struct asker *a)
{
	if (!a)
		return;
	eventfd_write(a->stop, 1);
	transport_cut(a->channel.transport);
	pthread_join(a->thread, NULL);
	fd_close(&a->stop);
	fd_close(&a->event);
	channel_done(&a->channel);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
