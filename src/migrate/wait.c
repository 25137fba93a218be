/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/wait.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>

int waiter_add(struct waiter *w, int fd, int (*ready)(void *ctx, struct err *e), void *ctx)
{
	if (w->n == WAITER_MAX)
		return -E2BIG;
	w->v[w->n++] = (struct watched){.fd = fd, .ready = ready, .ctx = ctx};
	return 0;
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

int waiter_wait(struct waiter *w, int fd, uint64_t deadline, struct err *e)
{
	struct pollfd polled[WAITER_MAX + 1];

	for (;;) {
		size_t n = w->n;
		int r;

		for (size_t i = 0; i < n; i++) {
			polled[i] = (struct pollfd){.fd = w->v[i].fd, .events = POLLIN};
			if (w->v[i].fd == fd)
				polled[i].fd = -1;
		}
		polled[n] = (struct pollfd){.fd = fd, .events = POLLIN};
		r = poll(polled, n + 1, deadline_poll_ms(deadline));
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
