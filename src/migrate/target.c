/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target side of a migration: the stages at the end of this file, walked in order.
 *
 * The container may run here once COMMIT has come, and not before: the gate stays shut. What fails
 * until then is undone and told by an ABORT. From COMMIT on this host owns the container: whatever
 * becomes of this process or of the link before all memory is here, the keeper (mem/keeper.h) goes on,
 * so that who touches a missing page waits for it and never reads zeros, and the source comes again.
 */
#include "migrate/target.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/thread.h"
#include "criu/workplace.h"
#include "migrate/arrival.h"
#include "migrate/await.h"
#include "migrate/entrance.h"
#include "migrate/guard.h"
#include "migrate/images.h"
#include "migrate/journal.h"
#include "migrate/memory_in.h"
#include "migrate/request.h"
#include "migrate/restore.h"
#include "migrate/signals.h"
#include "migrate/stage.h"
#include "migrate/wait.h"
#include "oci/cgroup_warm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DUMP_MS 660000	 /* the source dumps, and sends nothing meanwhile: longer than it waits */
#define REPORT_MS 500
#define RESUME_MS 900000 /* longer than a source tries */

struct target {
	struct err *why; /* what went wrong, for the stages' undo */
	const struct guest *guest;
	struct channel control;

	struct request request;
	struct entrance entrance;
	struct journal journal;
	struct guard guard;
	struct waiter waiter;
	struct signals signals;
	int timer;
	struct arrival arrival;
	struct restore restore;
	struct cgroup_warmer warmer;
	struct memory_in memory;
	int container_pidfd; /* owned */
	bool committed; /* COMMIT has come */
	bool owner;
	bool over; /* the source knows that nothing is needed any more */
	uint64_t images_from, images_to, address_ns;
};

static int send_control(struct target *t, enum msg_type type, const void *body, struct err *e)
{
	return channel_send(&t->control, type, body, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

/* --- keeping an eye on the others ------------------------------------------------------------ */

/* The source is told twice a second that this side lives, and how far it is. */
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
	return send_control(t, MSG_PROGRESS, &m, e);
}

/* The same when what becomes of the link changes nothing. */
static int on_timer_alone(void *ctx, struct err *e)
{
	struct err lost = ERR_INIT;

	(void)e;
	on_timer(ctx, &lost);
	return 0;
}

/* Takes one message of the source; packets and what is only to be known are dealt with here. */
static int take_message(struct target *t, struct msg *ret, struct err *e)
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
	int r = take_message(t, &m, e);

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

static int wait_input(struct target *t, uint64_t deadline, struct err *e)
{
	if (transport_pending(t->control.transport))
		return 0;
	return waiter_wait(&t->waiter, transport_fd(t->control.transport), deadline, e);
}

static int wait_message(struct target *t, struct msg *ret, uint64_t deadline, struct err *e)
{
	int r = 0;

	*ret = MSG_INIT;
	while (r == 0 && ret->type == MSG_NONE) {
		r = wait_input(t, deadline, e);
		if (r == -ETIMEDOUT && !err_is_set(e))
			return err_set(e, ERR_PEER, ETIMEDOUT, "the source is silent");
		if (r == 0)
			r = take_message(t, ret, e);
	}
	return r;
}

static int expect_message(struct target *t, enum msg_type type, uint64_t deadline, struct err *e)
{
	struct msg m;
	int r = wait_message(t, &m, deadline, e);

	if (r == 0 && m.type != type)
		r = err_set(e, ERR_PEER, EPROTO, "%s instead of %s", msg_name(m.type),
			msg_name(type));
	msg_done(&m);
	return r;
}

/* --- offer ------------------------------------------------------------------------------------ */

static int run_offer(void *ctx, struct err *e)
{
	struct target *t = ctx;

	return request_hear(&t->request, t->guest, &t->entrance, &t->arrival, e);
}

static void undo_offer(void *ctx)
{
	struct target *t = ctx;

	entrance_close(&t->entrance);
	channel_abort(&t->control, t->why);
}

/* --- prepare ---------------------------------------------------------------------------------- */

static int accept_channel(struct target *t, struct err *e)
{
	struct msg_hello hello = {0};
	struct channel c;
	int r = entrance_next(&t->entrance, &c, &hello, REQUEST_HELLO_MS, e);

	return r < 0 ? r : memory_in_add(&t->memory, &c, &hello, e);
}

static int start_timer(struct target *t, struct err *e)
{
	struct itimerspec every = {.it_interval.tv_nsec = REPORT_MS * (long)NSEC_PER_MSEC,
		.it_value.tv_nsec = REPORT_MS * (long)NSEC_PER_MSEC};

	t->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer < 0 || timerfd_settime(t->timer, 0, &every, NULL) < 0)
		return err_sys(e, errno, "timer");
	return waiter_add(&t->waiter, t->timer, on_timer, t);
}

static uint64_t physical_bytes(void)
{
	return PAGES_TO_BYTES((uint64_t)sysconf(_SC_PHYS_PAGES));
}

static bool is_in_tmp(const char *path)
{
	return strncmp(path, "/tmp/", 5) == 0 || strcmp(path, "/tmp") == 0;
}

/* Does the container come from, or mount, something in /tmp? */
static bool needs_tmp(const struct target *t)
{
	bool r = is_in_tmp(t->request.bundle) || is_in_tmp(t->request.config.rootfs);

	for (size_t i = 0; i < t->request.config.n_bind_sources; i++)
		r |= is_in_tmp(t->request.config.bind_sources[i]);
	return r;
}

static int prepare_arrival(struct target *t, struct err *e)
{
	struct err why = ERR_INIT;
	int r = arrival_prepare(&t->arrival, &why);

	if (r < 0 && address_is_vrrp(&t->arrival.floating.address)) {
		*e = why;
		return r;
	}
	if (r < 0)
		request_log(&t->request, "packets that come meanwhile will be lost: %s", why.text);
	return 0;
}

/* --- what the keeper calls, when there is no worker any more --- */

static void alone(void *ctx)
{
	const struct target *t = ctx;

	request_log(&t->request, "its process has ended: the keeper of its memory goes on");
}

static bool is_owner(const struct target *t)
{
	struct journal_entry j;

	return journal_find(t->request.id, false, &j) == 0 && strcmp(j.step, "owner") == 0;
}

static bool is_running(const struct target *t)
{
	struct container c;

	return runc_state(t->request.container, &c, NULL) == 0 && c.pid > 0;
}

/* A source that asks is told that nothing is needed any more. Of a container that may never have run, and is
 * not there, nobody may say that: its source's copy would go. */
static void over(void *ctx, bool ran)
{
	struct target *t = ctx;

	if (!is_owner(t) || !(ran || is_running(t)))
		return;
	runc_forget_restore(t->request.container);
	journal_step(&t->journal, "drained", NULL);
}

/* Then it is the source's: who clears this entry away says so. */
static void never(void *ctx)
{
	struct target *t = ctx;

	if (is_owner(t))
		journal_step(&t->journal, "prepared", NULL);
}

static void lost(void *ctx)
{
	const struct target *t = ctx;

	request_log(&t->request,
		"its keeper was killed: processes that touch memory that is still on the source wait for ever");
}

static void complain(void *ctx, const struct err *e)
{
	const struct target *t = ctx;

	request_log(&t->request, "%s", e->text);
}

static int replace(void *ctx, struct keeper *k);

static int start_keeper(struct target *t, struct err *e)
{
	struct keeper_config c = {
		.max_bytes = physical_bytes(),
		.alone = alone,
		.replace = replace,
		.over = over,
		.never = never,
		.lost = lost,
		.complain = complain,
		.ctx = t,
	};

	return memory_in_start(&t->memory, &c, t->request.streams, &t->waiter, e);
}

static int start_restore(struct target *t, struct err *e)
{
	struct runc_restore o = {
		.id = t->request.container,
		.bundle = t->request.bundle,
		.images = WORKPLACE_IMAGES,
		.work = WORKPLACE_CRIU,
		.programs = WORKPLACE_PROGRAMS,
		.preload = WORKPLACE_PRELOAD,
		.lazy = true,
		.tcp_established = true,
		.file_locks = t->request.flags & OFFER_FILE_LOCKS,
	};
	const struct oci_config *c = &t->request.config;
	char key[FINGERPRINT_TEXT];
	struct msg m;
	int r = wait_message(t, &m, deadline_in_ms(REQUEST_DECIDE_MS), e);

	if (r == 0 && m.type != MSG_PREPARE)
		r = err_set(e, ERR_PEER, EPROTO, "%s instead of PREPARE", msg_name(m.type));
	if (r == 0)
		r = images_check_descriptors(&m.body.prepare.descriptors, e);
	if (r == 0)
		r = FAULT(target_prepare_came, e);
	if (r == 0)
		r = journal_begin(&t->journal, t->request.id, false, &(struct journal_subject){
			.container = t->request.container, .peer = t->control.peer, .address = c->address,
			.netns = c->netns, .network = c->network,
			.key = entrance_peer(&t->entrance, key), .token = t->entrance.token}, e);
	if (r == 0)
		r = FAULT(target_journal_prepared, e);
	if (r == 0)
		r = start_keeper(t, e);
	if (r == 0)
		r = FAULT(target_keeper_started, e);
	if (r == 0)
		r = arrival_make_network(&t->arrival, e);
	if (r == 0)
		r = prepare_arrival(t, e);
	if (r == 0)
		r = guard_start(&t->guard, &t->journal, NULL, arrival_guarded_fd(&t->arrival), e);
	if (r == 0)
		r = FAULT(target_guarded, e);
	if (r == 0)
		r = workplace_enter(e);
	if (r == 0 && !needs_tmp(t))
		r = workplace_hide_tmp(e);
	if (r == 0)
		r = restore_prepare(&t->restore, t->memory.keeper, c->criu_config, e);
	if (r == 0)
		r = restore_claim(&t->restore, o.id, e);
	if (r == 0)
		r = restore_start(&t->restore, &o, &m.body.prepare.descriptors, &t->waiter, e);
	if (r == 0)
		r = FAULT(target_restore_started, e);
	msg_done(&m);
	return r;
}

static int run_prepare(void *ctx, struct err *e)
{
	struct target *t = ctx;
	int r = start_restore(t, e);

	for (unsigned i = 0; r == 0 && i < t->request.streams + 1; i++)
		r = accept_channel(t, e);
	entrance_close(&t->entrance);
	if (r == 0)
		r = FAULT(target_channels_open, e);
	if (r == 0)
		r = start_timer(t, e);
	if (r == 0)
		r = send_control(t, MSG_PREPARED, NULL, e);
	return r < 0 ? r : FAULT(target_prepared, e);
}

static void undo_prepare(void *ctx)
{
	struct target *t = ctx;

	restore_revoke(&t->restore);
	arrival_revoke(&t->arrival);
	journal_end(&t->journal);
}

/* --- receive ---------------------------------------------------------------------------------- */

/* The first message of them. A copy may take as long as it takes, as long as something comes. */
static int wait_images(struct target *t, struct msg *ret, struct err *e)
{
	uint64_t before, now = 0;
	int r;

	*ret = MSG_INIT;
	do {
		before = now;
		r = wait_input(t, deadline_in_ms(DUMP_MS), e);
		if (r == 0)
			r = take_message(t, ret, e);
		now = memory_in_stats(&t->memory).arrived;
	} while ((r == 0 && ret->type == MSG_NONE) || (r == -ETIMEDOUT && !err_is_set(e) && now != before));
	return r == -ETIMEDOUT && !err_is_set(e)
		? err_set(e, ERR_PEER, ETIMEDOUT, "the source is silent") : r;
}

static int take_image(struct images_in *in, const struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_IMAGE:
		return images_take(in, &m->body.image, e);
	case MSG_IMAGES_END:
		return images_finish(in, &m->body.images_end, e);
	default:
		return err_set(e, ERR_PEER, EPROTO, "%s among the images", msg_name(m->type));
	}
}

static int take_images(struct target *t, struct images_in *in, struct err *e)
{
	struct msg m;
	int r = wait_images(t, &m, e);
	bool end = false;

	/* The source stands still, and CRIU waits for our answers. */
	thread_come_first(0, true);
	t->images_from = clock_now();
	while (r == 0 && !end) {
		end = m.type == MSG_IMAGES_END;
		r = take_image(in, &m, e);
		msg_done(&m);
		if (r == 0 && !end)
			r = wait_message(t, &m, deadline_in_ms(DUMP_MS), e);
	}
	msg_done(&m);
	return r;
}

/* The restored sockets may be bound to it, so it must be here before. */
static int add_address(struct target *t, struct err *e)
{
	uint64_t start = clock_now();
	int r;

	r = arrival_take(&t->arrival, &t->waiter, e);
	t->address_ns = clock_now() - start;
	return r;
}

static int run_receive(void *ctx, struct err *e)
{
	struct target *t = ctx;
	const struct oci_config *c = &t->request.config;
	struct images_in in;
	int r;

	images_in_init(&in, WORKPLACE_IMAGES, c->own_network && !c->netns, physical_bytes());
	r = take_images(t, &in, e);
	t->images_to = clock_now();
	if (r == 0)
		r = FAULT(target_images_came, e);
	if (r == 0)
		r = memory_in_wait_cuts(&t->memory, e);
	if (r == 0)
		r = memory_in_expect(&t->memory, WORKPLACE_IMAGES, e);
	if (r == 0)
		r = FAULT(target_expected, e);
	if (r == 0)
		r = add_address(t, e);
	if (r == 0)
		r = FAULT(target_address_added, e);
	if (r == 0)
		r = restore_feed(&t->restore, &in.inventory, e);
	if (r == 0)
		r = FAULT(target_fed, e);
	images_in_done(&in);
	return r;
}

static void undo_receive(void *ctx)
{
	struct target *t = ctx;

	restore_revoke(&t->restore);
	arrival_revoke(&t->arrival);
}

/* --- restore ---------------------------------------------------------------------------------- */

static int send_phases(struct target *t, enum msg_type type, struct err *e)
{
	struct msg_phase p[] = {
		{msg_string("images"), t->images_to - t->images_from},
		{msg_string("restore"), t->restore.gate_at - t->restore.started},
		{msg_string("address"), t->address_ns},
		{msg_string("announced"), t->arrival.announced_at ? clock_now() - t->arrival.announced_at : 0},
	};
	struct msg_phases m = {.list = {p, sizeof(p) / sizeof(p[0])}};

	return send_control(t, type, &m, e);
}

/* While the source commits. */
static void look_at_connections(struct target *t)
{
	_cleanup_free_ pid_t *processes = NULL;
	size_t n;

	if (restore_processes(&t->restore, &processes, &n) == 0)
		arrival_look(&t->arrival, processes, n);
}

/* CRIU may have waited for a page. */
static void tell_what_came(struct target *t)
{
	struct pager_stats s = memory_in_stats(&t->memory);

	request_log(&t->request,
		"not restored when %llu pages had come; %llu were lacking, %llu had been touched, %llu of them "
		"too early",
		(unsigned long long)s.arrived, (unsigned long long)s.pending, (unsigned long long)s.faults,
		(unsigned long long)s.urgent);
}

static int run_restore(void *ctx, struct err *e)
{
	struct target *t = ctx;
	int r = restore_to_gate(&t->restore, &t->waiter, e);

	if (r < 0) {
		tell_what_came(t);
		return r;
	}
	cgroup_warm_stop(&t->warmer);
	r = FAULT(target_at_gate, e);
	if (r == 0)
		r = memory_in_open(&t->memory, e);
	/* The source stands still, and still has it: not for ever. */
	if (r == 0 && (t->request.mode == MODE_STOP || t->request.mode == MODE_PRE))
		r = memory_in_wait_all(&t->memory, CHANNEL_SILENCE_MS, e);
	if (r == 0)
		r = send_phases(t, MSG_RESTORED, e);
	if (r < 0)
		return r;
	look_at_connections(t);
	return FAULT(target_restored, e);
}

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

static int run_commit(void *ctx, struct err *e)
{
	struct target *t = ctx;
	struct waiter alone = WAITER_INIT;
	int r = t->committed ? 0 : expect_message(t, MSG_COMMIT, deadline_in_ms(CHANNEL_SILENCE_MS), e);

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
		r = waiter_add(&alone, t->timer, on_timer_alone, t);
	if (r == 0)
		r = restore_open_gate(&t->restore, &alone, e);
	if (r < 0)
		return r;
	t->owner = true;
	t->signals.ignore = true;
	FAULT(target_gate_open, NULL);
	request_log(&t->request, "runs here");
	r = send_phases(t, MSG_RUNNING, e);
	r = leave_loss_to_drain(t, r, e);
	FAULT(target_running, NULL);
	tell_keeper(t);
	arrival_deliver(&t->arrival);
	thread_come_first(0, false);
	return r;
}

/* --- drain ------------------------------------------------------------------------------------ */

static int send_drained(struct target *t, bool took_over, struct err *e)
{
	struct pager_stats s = memory_in_stats(&t->memory);
	struct hold_stats packets = arrival_stats(&t->arrival);
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
	};

	return send_control(t, MSG_DRAINED, &m, e);
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
		r = expect_message(t, MSG_BYE, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	if (r == 0)
		r = FAULT(target_bye_came, e);
	t->over = r == 0;
	return r;
}

/* --- the link breaks after the commit --------------------------------------------------------- */

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

static int watch_source(struct target *t, struct err *e)
{
	int r = waiter_add_transport(&t->waiter, t->control.transport, on_control, t);

	if (r == 0)
		r = waiter_add(&t->waiter, t->timer, on_timer, t);
	return r < 0 ? err_sys(e, -r, "waiting for the source") : 0;
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
		r = watch_source(t, e);
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
static void expect_breaks(struct target *t)
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

/* What broke the link broke the drain with @r and @e. */
static int drain_again(struct target *t, int r, struct err *e)
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

static int run_drain(void *ctx, struct err *e)
{
	struct target *t = ctx;

	expect_breaks(t);
	return drain_again(t, drain(t, e), e);
}

static int run_bye(void *ctx, struct err *e)
{
	struct target *t = ctx;

	if (t->over)
		journal_end(&t->journal);
	if (t->over && FAULT(target_journal_ended, e) < 0)
		return -e->code;
	if (t->over)
		send_control(t, MSG_BYE, NULL, NULL);
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

/* --- the whole -------------------------------------------------------------------------------- */

static const struct stage stages[] = {
	{"offer", run_offer, undo_offer},
	{"prepare", run_prepare, undo_prepare},
	{"receive", run_receive, undo_receive},
	{"restore", run_restore, NULL},
	{"commit", run_commit, NULL},
	{"drain", run_drain, NULL},
	{"bye", run_bye, NULL},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool is_revocable(const void *ctx)
{
	return !((const struct target *)ctx)->owner;
}

/* Threads first, then what they use. */
static void target_done(struct target *t)
{
	memory_in_done(&t->memory);
	cgroup_warm_stop(&t->warmer);
	channel_done(&t->control);
	restore_done(&t->restore);
	entrance_done(&t->entrance);
	fd_close(&t->container_pidfd);
	request_done(&t->request);
	signals_done(&t->signals);
	guard_done(&t->guard);
	fd_close(&t->timer);
	arrival_done(&t->arrival);
	free(t);
}

static int run_all(struct target *t, struct err *e)
{
	int r = signals_watch(&t->signals, &t->waiter, e);

	if (r == 0)
		r = waiter_add_transport(&t->waiter, t->control.transport, on_control, t);
	return r < 0 ? r : stages_walk(stages, COUNT(stages), t, is_revocable, e);
}

/* What a copy of this has of descriptors, threads and connections was its process's. */
static void shed(struct target *t)
{
	unlink(t->entrance.door.path);
	t->entrance.door = DOOR_INIT;
	t->entrance.n_holds = 0;
	t->control.transport = NULL;
	t->waiter = WAITER_INIT;
	t->signals = (struct signals){.fd = -1};
	arrival_renew(&t->arrival);
}

/* In a new process, which the keeper has forked from a copy of this one that it got when it started:
 * the source comes again to this one. */
static int replace(void *ctx, struct keeper *k)
{
	struct target *t = ctx;
	struct err e = ERR_INIT;
	int r;

	shed(t);
	t->owner = t->signals.ignore = true;
	t->journal.pid = keeper_pid(k);
	r = memory_in_join(&t->memory, k, &t->waiter, &e);
	if (r == 0)
		r = signals_watch(&t->signals, &t->waiter, &e);
	if (r == 0)
		r = start_timer(t, &e);
	if (r == 0)
		r = arrival_go_on(&t->arrival, &t->waiter, &e);
	if (r == 0)
		expect_breaks(t);
	/* The keeper knows whether there is anything to wait for, and then starts another one. */
	if (r == 0 && t->container_pidfd < 0)
		r = err_set(&e, ERR_LOCAL, ESRCH, "the container is not to be found");
	if (r == 0)
		r = memory_in_runs(&t->memory, &e);
	if (r == 0)
		runc_forget_restore(t->request.container);
	if (r == 0)
		r = drain_again(t, err_set(&e, ERR_PEER, ECONNRESET, "its process was killed"), &e);
	if (r == 0)
		r = run_bye(t, &e);
	if (r < 0)
		request_log(&t->request, "failed: %s", e.text);
	target_done(t);
	return r < 0;
}

int target_run(struct transport *transport, const struct identity *self, const struct guest *guest,
	struct err *e)
{
	struct target *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		transport_free(transport);
		return err_sys(e, ENOMEM, "migration");
	}
	t->why = e;
	t->guest = guest;
	t->entrance = ENTRANCE_INIT;
	t->restore = RESTORE_INIT;
	t->warmer = CGROUP_WARMER_INIT;
	t->guard = GUARD_INIT;
	t->arrival = ARRIVAL_INIT;
	t->signals.fd = t->timer = t->container_pidfd = -1;
	channel_init(&t->control, transport, CHANNEL_CONTROL, false);
	t->request = REQUEST_INIT(&t->control);
	r = entrance_init(&t->entrance, transport, self, e);
	if (r == 0)
		r = run_all(t, e);
	if (r < 0)
		request_log(&t->request, "failed: %s", e->text);
	target_done(t);
	return r;
}
