/* SPDX-License-Identifier: Apache-2.0 */
/* The source as the target sees it: what it says and what it is told. */
#include "migrate/target_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define REPORT_MS 500

int target_send_control(struct target *t, enum msg_type type, const void *body, struct err *e)
{
	return channel_send(&t->control, type, body, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

/* --- what it is told -------------------------------------------------------------------------- */

static int on_timer(void *ctx, struct err *e)
{
	struct target *t = ctx;
	struct msg_progress m = {.total = t->request.memory_bytes};
	struct pager_stats s;
	uint64_t ticks;

	if (read(t->timer, &ticks, sizeof(ticks)) != sizeof(ticks))
		return 0;
	s = memory_in_stats(&t->memory);
	m.done = PAGES_TO_BYTES(s.installed + s.zero_pages);
	return target_send_control(t, MSG_PROGRESS, &m, e);
}

int target_on_timer_alone(void *ctx, struct err *e)
{
	struct err lost = ERR_INIT;

	(void)e;
	on_timer(ctx, &lost);
	return 0;
}

static int watch_timer(struct target *t, struct err *e)
{
	int r = waiter_add(&t->waiter, t->timer, on_timer, t);

	return r < 0 ? err_sys(e, -r, "waiting for the source") : 0;
}

int target_start_timer(struct target *t, struct err *e)
{
	struct itimerspec every = {.it_interval.tv_nsec = REPORT_MS * (long)NSEC_PER_MSEC,
		.it_value.tv_nsec = REPORT_MS * (long)NSEC_PER_MSEC};

	t->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer < 0 || timerfd_settime(t->timer, 0, &every, NULL) < 0)
		return err_sys(e, errno, "timer");
	return watch_timer(t, e);
}

/* --- what it says ----------------------------------------------------------------------------- */

int target_take_message(struct target *t, struct msg *ret, struct err *e)
{
	int r = channel_recv(&t->control, ret, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r < 0)
		return r;
	switch (ret->type) {
	case MSG_FREEZE:
		/* CRIU will be at work here in a moment. */
		if (t->restore.gate_at == 0)
			cgroup_warm_start(&t->warmer);
		break;
	case MSG_HELD:
	case MSG_HELD_END:
		r = arrival_message(&t->arrival, ret, e);
		break;
	default:
		return 0;
	}
	msg_done(ret);
	return r;
}

/* The source has nothing else to say now but that it gives up, or commits before the restore is done. */
static int on_control(void *ctx, struct err *e)
{
	struct target *t = ctx;
	struct msg m = MSG_INIT;
	int r = target_take_message(t, &m, e);

	if (r < 0 || m.type == MSG_NONE)
		return r;
	if (m.type == MSG_COMMIT && t->images_to != 0 && !t->committed) {
		t->committed = true;
		return 0;
	}
	r = err_set(e, ERR_PEER, EPROTO, "%s out of order", msg_name(m.type));
	msg_done(&m);
	return r;
}

int target_watch_control(struct target *t, struct err *e)
{
	int r = waiter_add_transport(&t->waiter, t->control.transport, on_control, t);

	return r < 0 ? err_sys(e, -r, "waiting for the source") : 0;
}

int target_watch_source(struct target *t, struct err *e)
{
	int r = target_watch_control(t, e);

	return r < 0 ? r : watch_timer(t, e);
}

int target_wait_input(struct target *t, uint64_t deadline, struct err *e)
{
	if (transport_pending(t->control.transport))
		return 0;
	return waiter_wait(&t->waiter, transport_fd(t->control.transport), deadline, e);
}

int target_wait_message(struct target *t, struct msg *ret, uint64_t deadline, struct err *e)
{
	int r = 0;

	*ret = MSG_INIT;
	while (r == 0 && ret->type == MSG_NONE) {
		r = target_wait_input(t, deadline, e);
		if (r == -ETIMEDOUT && !err_is_set(e))
			return err_set(e, ERR_PEER, ETIMEDOUT, "the source is silent");
		if (r == 0)
			r = target_take_message(t, ret, e);
	}
	return r;
}

int target_expect_message(struct target *t, enum msg_type type, uint64_t deadline, struct err *e)
{
	struct msg m;
	int r = target_wait_message(t, &m, deadline, e);

	if (r == 0 && m.type != type)
		r = err_set(e, ERR_PEER, EPROTO, "%s instead of %s", msg_name(m.type),
			msg_name(type));
	msg_done(&m);
	return r;
}
