/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target from the commit on: the container is this host's, and runs. What it still lacks comes from the source,
 * which is waited for when the link breaks.
 */
#include "migrate/target_impl.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"
#include "migrate/await.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESUME_MS 900000 /* longer than a source tries */

/* --- commit ----------------------------------------------------------------------------------- */

/* One that is gone is noticed by whoever needs it next. */
static void tell_keeper(struct target *t)
{
	struct err e = ERR_INIT;

	if (memory_in_runs(&t->memory, &e) < 0)
		request_log(&t->request, "%s", e.text);
}

/* It runs, whatever the source knows: a link that is lost here is met by the drain, which has the source come
 * again. */
static int leave_loss_to_drain(struct target *t, int r, struct err *e)
{
	if (r == 0 || e->class != ERR_PEER)
		return r;
	/* Half a message may have gone, and nothing may follow it. */
	transport_cut(t->control.transport);
	*e = ERR_INIT;
	return 0;
}

int target_run_commit(void *ctx, struct err *e)
{
	struct target *t = ctx;
	struct waiter alone = WAITER_INIT;
	int r = t->committed ? 0 : target_expect_message(t, MSG_COMMIT, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	t->committed = true;
	t->journal.pid = keeper_pid(t->memory.keeper);
	if (r == 0)
		r = FAULT(target_commit_came, e);
	if (r == 0)
		r = journal_step(&t->journal, "owner", e);
	if (r == 0)
		r = FAULT(target_journal_owner, e);
	if (r == 0)
		r = arrival_show(&t->arrival, e);
	if (r == 0)
		r = FAULT(target_shown, e);
	/* Up to here the keeper's end says that it has never run, and from here on that it may have. */
	if (r == 0)
		r = memory_in_own(&t->memory, e);
	if (r == 0)
		r = FAULT(target_owns, e);
	/* Once CRIU has its yes the container may have run: no signal, and no source that goes away, is
	 * a reason to undo it then. */
	if (r == 0)
		r = waiter_add(&alone, t->timer, target_on_timer_alone, t);
	if (r == 0)
		r = restore_open_gate(&t->restore, &alone, e);
	if (r < 0)
		return r;
	t->owner = true;
	t->signals.ignore = true;
	FAULT(target_gate_open, NULL);
	request_log(&t->request, "runs here");
	r = target_send_phases(t, MSG_RUNNING, e);
	r = leave_loss_to_drain(t, r, e);
	FAULT(target_running, NULL);
	tell_keeper(t);
	arrival_deliver(&t->arrival);
	thread_come_first(0, false);
	return r;
}

/* --- drain ------------------------------------------------------------------------------------ */

/* Up to the last time in which there was one. */
static size_t fault_times(const struct pager_stats *s, struct msg_count ret[static PAGER_FAULT_TIMES])
{
	size_t n = 0;

	for (size_t i = 0; i < PAGER_FAULT_TIMES; i++) {
		ret[i].n = s->fault_times[i];
		if (ret[i].n > 0)
			n = i + 1;
	}
	return n;
}

static int send_drained(struct target *t, bool took_over, struct err *e)
{
	struct pager_stats s = memory_in_stats(&t->memory);
	struct hold_stats packets = arrival_stats(&t->arrival);
	struct msg_count times[PAGER_FAULT_TIMES];
	struct msg_drained m = {
		.pages = s.pages,
		.zero_pages = s.zero_pages,
		.faults = s.faults,
		.urgent = s.urgent,
		.fault_p50_ns = s.p50_ns,
		.fault_p99_ns = s.p99_ns,
		.store_peak = s.store_peak,
		.packets_delivered = t->arrival.delivered,
		.packets_held = packets.held,
		.packets_overflow = t->arrival.overflow + packets.overflow,
		.packets_late = packets.late,
		.took_over = took_over,
		.fault_times = {times, fault_times(&s, times)},
	};

	return target_send_control(t, MSG_DRAINED, &m, e);
}

/* Up to the source's good-bye: all of it anew when the link breaks. */
static int drain(struct target *t, struct err *e)
{
	bool took_over;
	int r = t->restore.begun ? restore_finish(&t->restore, &t->waiter, e) : 0;

	if (r == 0)
		r = FAULT(target_restore_ended, e);
	if (r == 0)
		r = memory_in_wait_all(&t->memory, -1, e);
	if (r == 0)
		r = FAULT(target_all_in, e);
	if (r == 0)
		r = arrival_settle(&t->arrival, e);
	if (r == 0)
		r = FAULT(target_settled, e);
	if (r == 0)
		r = arrival_take_over(&t->arrival, e);
	if (r < 0)
		return r;
	took_over = r > 0;
	/* A keeper that is killed now, and with it the channels that bring pages, is no lost link. */
	memory_in_unwatch(&t->memory);
	r = journal_step(&t->journal, "drained", e);
	if (r == 0)
		r = FAULT(target_journal_drained, e);
	if (r == 0)
		r = send_drained(t, took_over, e);
	if (r == 0)
		r = FAULT(target_drained, e);
	if (r == 0)
		r = target_expect_message(t, MSG_BYE, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	if (r == 0)
		r = FAULT(target_bye_came, e);
	t->over = r == 0;
	return r;
}

/* --- the link breaks -------------------------------------------------------------------------- */

/* The source may know before this side that the connections are of no use. */
static int on_door(void *ctx, struct err *e)
{
	struct target *t = ctx;

	if (!entrance_admit(&t->entrance))
		return 0;
	return err_set(e, ERR_PEER, ECONNRESET, "the source comes again");
}

static int on_container(void *ctx, struct err *e)
{
	(void)ctx;
	return err_set(e, ERR_CANCELLED, ESRCH, "the container has ended");
}

static void part(struct target *t)
{
	memory_in_part(&t->memory);
	waiter_remove(&t->waiter, t->timer);
	if (t->control.transport) {
		waiter_remove(&t->waiter, transport_fd(t->control.transport));
		transport_cut(t->control.transport);
	}
	entrance_let_go(&t->entrance);
}

static int go_on(struct target *t, struct comeback *c, struct err *e)
{
	int r;

	channel_done(&t->control);
	t->control = c->control;
	r = memory_in_ask_again(&t->memory, e);
	if (r == 0)
		r = await_tell(&t->control, t->memory.keeper, e);
	if (r == 0)
		r = target_watch_source(t, e);
	request_log(&t->request, r == 0 ? "the source is back" : "the source came and went");
	return r;
}

/* 1: nobody needs to come any more. Without its source a container that has everything is waited with for
 * a while only, since what is missing then is a good-bye; without its keeper it isn't, since the agent says that
 * itself then (answer.c). */
static int await_source(struct target *t, struct err *e)
{
	struct comeback c;

	request_log(&t->request, "the link is lost (%s): processes that touch missing memory wait", e->text);
	part(t);
	while (!t->memory.keeper_gone) {
		int r;

		*e = ERR_INIT;
		r = t->entrance.admitted ? 0 : waiter_wait(&t->waiter, t->entrance.door.listener,
						       deadline_in_ms(RESUME_MS), e);
		if (r == 0 && await_take(&t->entrance, &t->memory, &c, e) == 0)
			return go_on(t, &c, e);
		if (r == 0)
			request_log(&t->request, "somebody came, and not to go on: %s", e->text);
		else if (e->class == ERR_CANCELLED || (r == -ETIMEDOUT && keeper_done(t->memory.keeper)))
			return 1;
		else if (e->class != ERR_PEER && r != -ETIMEDOUT)
			return r;
	}
	return 1;
}

/* Without these the drain goes on as long as the link holds. */
void target_expect_breaks(struct target *t)
{
	struct err e = ERR_INIT;
	struct container c;
	int r = entrance_open(&t->entrance, &e);

	if (r == 0)
		r = waiter_add(&t->waiter, t->entrance.door.listener, on_door, t);
	if (r == 0)
		r = runc_state(t->request.container, &c, &e);
	if (r == 0 && c.pid > 0)
		t->container_pidfd = (int)syscall(SYS_pidfd_open, c.pid, 0);
	if (r == 0 && t->container_pidfd >= 0)
		r = waiter_add(&t->waiter, t->container_pidfd, on_container, t);
	if (r < 0)
		request_log(&t->request, "a source that is lost can not come again: %s", e.text);
}

int target_drain_again(struct target *t, int r, struct err *e)
{
	while (r < 0 && e->class == ERR_PEER) {
		r = await_source(t, e);
		if (r == 0)
			r = drain(t, e);
	}
	if (e->class != ERR_CANCELLED && r != 1)
		return r;
	/* It has ended, or has everything. */
	return journal_step(&t->journal, "drained", e);
}

int target_run_drain(void *ctx, struct err *e)
{
	struct target *t = ctx;

	target_expect_breaks(t);
	return target_drain_again(t, drain(t, e), e);
}

/* --- bye -------------------------------------------------------------------------------------- */

int target_run_bye(void *ctx, struct err *e)
{
	struct target *t = ctx;

	if (t->over)
		journal_end(&t->journal);
	if (t->over && FAULT(target_journal_ended, e) < 0)
		return -e->code;
	if (t->over)
		target_send_control(t, MSG_BYE, NULL, NULL);
	request_log(&t->request, t->over ? "done" : "done, but the source did not say good-bye");
	waiter_remove(&t->waiter, t->timer);
	if (t->control.transport)
		waiter_remove(&t->waiter, transport_fd(t->control.transport));
	/* The source closes its connections now, which is no reason to announce less. */
	memory_in_unwatch(&t->memory);
	waiter_remove(&t->waiter, t->entrance.door.listener);
	entrance_close(&t->entrance);
	return arrival_announce(&t->arrival, e);
}
