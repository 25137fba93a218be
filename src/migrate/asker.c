/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/asker.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"
#include "migrate/bulk.h"

#include <errno.h>
#include <poll.h>

/* Faults come in bursts: for that long it looks for the next wish or answer without sleeping. */
#define BURST_NS 200000

struct asker {
	struct channel *channel;
	int stop, wishes;
	struct keeper_line *line;
};

static int pass_wishes(struct asker *a, struct err *e)
{
	struct pager_wish w;
	int r;

	while ((r = keeper_next_wish(a->wishes, &w)) == 1) {
		struct msg_fault m = {.vpid = w.vpid, .pages = w.pages, .addr = w.addr};

		if (FAULT(target_wish, e) < 0)
			return -e->code;
		r = channel_send(a->channel, MSG_FAULT, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
		if (r < 0)
			return r;
	}
	return r < 0 ? keeper_error(r, "wishes of the keeper", e) : 0;
}

static int pass_answers(struct asker *a, struct err *e)
{
	do {
		struct msg m;
		int r = channel_recv(a->channel, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

		if (r == 0)
			r = bulk_take(a->line, &m, e);
		msg_done(&m);
		if (r < 0)
			return r;
	} while (transport_pending(a->channel->transport));
	return 0;
}

/* 1 when it is to end. */
static int step(struct asker *a, uint64_t *burst_until, struct err *e)
{
	bool burst = clock_now() < *burst_until;
	struct pollfd p[] = {
		{.fd = a->stop, .events = POLLIN},
		{.fd = a->wishes, .events = POLLIN},
		{.fd = transport_fd(a->channel->transport), .events = POLLIN},
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

int asker_serve(struct channel *c, int stop, struct keeper_line *l, int wishes, struct err *e)
{
	struct asker a = {.channel = c, .stop = stop, .line = l, .wishes = wishes};
	uint64_t burst_until = 0;
	int r;

	do
		r = step(&a, &burst_until, e);
	while (r == 0);
	return r < 0 ? r : 0;
}
