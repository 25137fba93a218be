/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/wait.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>

static int add(struct waiter *w, struct watched what)
{
	if (w->n == WAITER_MAX)
		return -E2BIG;
	w->v[w->n++] = what;
	return 0;
}

int waiter_add(struct waiter *w, int fd, int (*ready)(void *ctx, struct err *e), void *ctx)
{
	return add(w, (struct watched){.fd = fd, .ready = ready, .ctx = ctx});
}

int waiter_add_transport(struct waiter *w, const struct transport *t,
	int (*ready)(void *ctx, struct err *e), void *ctx)
{
	return add(w, (struct watched){.fd = transport_fd(t), .input = t, .ready = ready, .ctx = ctx});
}

void waiter_remove(struct waiter *w, int fd)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].fd == fd)
			w->v[i--] = w->v[--w->n];
}

/* What is polled is a copy: functions may add and remove meanwhile. */
static int deal_with_others(struct waiter *w, const struct pollfd *polled, size_t n, struct err *e)
{
	const struct waiter before = *w;

	for (size_t i = 0; i < n; i++) {
		int r;

		if (!polled[i].revents || polled[i].fd < 0)
			continue;
		r = before.v[i].ready(before.v[i].ctx, e);
		if (r < 0)
			return r;
		if (r == 1)
			waiter_remove(w, before.v[i].fd);
	}
	return 0;
}

/* Polls all but @fd among those that are watched, and @fd. What a transport has read ahead is input. */
static int poll_all(const struct waiter *w, int fd, uint64_t deadline, struct pollfd *polled)
{
	bool ahead[WAITER_MAX], any = false;
	int r;

	for (size_t i = 0; i < w->n; i++) {
		polled[i] = (struct pollfd){.fd = w->v[i].fd, .events = POLLIN};
		if (w->v[i].fd == fd)
			polled[i].fd = -1;
		ahead[i] = polled[i].fd >= 0 && w->v[i].input && transport_pending(w->v[i].input);
		any |= ahead[i];
	}
	polled[w->n] = (struct pollfd){.fd = fd, .events = POLLIN};
	r = poll(polled, w->n + 1, any ? 0 : deadline_poll_ms(deadline));
	for (size_t i = 0; r >= 0 && i < w->n; i++)
		if (ahead[i])
			polled[i].revents |= POLLIN;
	return r;
}

int waiter_wait(struct waiter *w, int fd, uint64_t deadline, struct err *e)
{
	struct pollfd polled[WAITER_MAX + 1];

	for (;;) {
		size_t n = w->n;
		int r = poll_all(w, fd, deadline, polled);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, errno, "poll");
		r = deal_with_others(w, polled, n, e);
		if (r < 0)
			return r;
		if (polled[n].revents)
			return 0;
		if (deadline_passed(deadline))
			return -ETIMEDOUT;
	}
}
