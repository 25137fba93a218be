/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source side of a migration: the stages at the end of this file, walked in order.
 *
 * Who owns the container is one variable. It is HERE until the journal says "committed" and COMMIT
 * is about to leave: from then on the target may run it at any moment, and the answer is UNKNOWN
 * until RUNNING makes it THERE, or an ABORT, by which the target says that it doesn't and won't,
 * makes it HERE again. Only an owner thaws.
 *
 * COMMIT leaves when the target has restored the container; over a long link right behind the images, since
 * to wait for that word would cost a round trip in which the container stands still.
 */
#include "migrate/source.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/thread.h"
#include "base/text.h"
#include "check/check.h"
#include "criu/images.h"
#include "criu/workplace.h"
#include "migrate/copier.h"
#include "migrate/departure.h"
#include "migrate/dump.h"
#include "migrate/flow.h"
#include "migrate/guard.h"
#include "migrate/images.h"
#include "migrate/journal.h"
#include "migrate/large.h"
#include "migrate/offer.h"
#include "migrate/resume.h"
#include "migrate/rounds.h"
#include "migrate/signals.h"
#include "migrate/stage.h"
#include "migrate/verdicts.h"
#include "migrate/wait.h"
#include "migrate/warm.h"
#include "oci/cgroup_rhythm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define CHECK_MS 600000 /* the target reads its whole copy of the root file system */
#define EXPLAIN_MS 500
#define AHEAD_S 0.005 /* far less than CRIU takes for a dump */
#define GIVE_UP_MS 2000 /* for the target to confirm that it has stopped */

enum owner { OWNER_HERE, OWNER_UNKNOWN, OWNER_THERE };

struct source {
	const struct source_options *o;
	struct report *report;
	struct err *why; /* what went wrong, for the stages' undo */

	struct host_facts host;
	struct container_facts facts;
	struct departure departure;

	struct identity identity;
	struct peers peers;
	struct flow flow;
	struct warmth warmth;
	uint8_t id[MSG_ID_LEN], token[MSG_ID_LEN];

	struct waiter waiter;
	struct signals signals;
	struct journal journal;
	struct guard guard;
	struct dump_options dump_options;
	struct dump dump;
	struct cgroup_rhythm rhythm;
	struct large large;
	bool looks_itself; /* CRIU, at all memory: it is shown nothing that could be out of date */
	bool advised;	   /* what it was shown was out of date */
	struct copier copier;
	struct plan plan; /* of the copy */
	bool commits_early;
	enum owner owner;
	struct resume resume;
	bool drained_there; /* and nobody there says so again */
	bool parted;	    /* the good-byes have been said */

	uint64_t started, copy_start, copy_end, images_at, images_sent, restored, running, drained;
	bool has_result; /* or the link was lost before it came */
	struct msg_drained result;
	uint64_t target_address_ns, target_announced_ns;
	uint64_t wire_bytes;
};

/* --- keeping an eye on the others ------------------------------------------------------------ */

static uint64_t total_pages(const struct source *s)
{
	return BYTES_TO_PAGES(s->facts.memory_bytes);
}

static void show_progress(void *ctx)
{
	struct source *s = ctx;
	uint64_t done = flow_pages(&s->flow);

	if (done > total_pages(s))
		done = total_pages(s);
	report_progress(s->report, PAGES_TO_BYTES(done), s->facts.memory_bytes);
}

/* Takes one message of the target; PROGRESS is dealt with here. */
static int take_message(struct source *s, struct msg *m, struct err *e)
{
	int r = channel_recv(&s->flow.control, m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r < 0)
		return r;
	if (m->type == MSG_PROGRESS) {
		msg_done(m);
		m->type = MSG_NONE;
		show_progress(s);
	}
	return 0;
}

/* Nothing is expected of the target now: it may only tell that it still lives, or that it fails. */
static int on_control(void *ctx, struct err *e)
{
	struct source *s = ctx;
	struct msg m;
	int r = take_message(s, &m, e);

	if (r < 0 || m.type == MSG_NONE)
		return r;
	r = err_set(e, ERR_PEER, EPROTO, "%s sent %s out of order", s->flow.control.peer,
		msg_name(m.type));
	msg_done(&m);
	return r;
}

/* Waits for one type of message, through a silence of so long. */
static int outwait(struct source *s, enum msg_type type, uint64_t silence_ms, struct msg *ret, struct err *e)
{
	for (;;) {
		int r = 0;

		if (!transport_pending(s->flow.control.transport))
			r = waiter_wait(&s->waiter, transport_fd(s->flow.control.transport),
				deadline_in_ms(silence_ms), e);
		if (r == -ETIMEDOUT && !err_is_set(e))
			return err_set(e, ERR_PEER, ETIMEDOUT, "%s has been silent for %llu s",
				s->flow.control.peer, (unsigned long long)silence_ms / 1000);
		if (r == 0)
			r = take_message(s, ret, e);
		if (r < 0)
			return r;
		if (ret->type == type)
			return 0;
		if (ret->type == MSG_NONE)
			continue;
		r = err_set(e, ERR_PEER, EPROTO, "%s sent %s instead of %s", s->flow.control.peer,
			msg_name(ret->type), msg_name(type));
		msg_done(ret);
		return r;
	}
}

static int wait_message(struct source *s, enum msg_type type, struct msg *ret, struct err *e)
{
	return outwait(s, type, CHANNEL_SILENCE_MS, ret, e);
}

/* A further connection that broke is often the sign of something that the target tells on the
 * control channel: then that is the error. */
static int explain(struct source *s, int r, struct err *e)
{
	uint64_t deadline = deadline_in_ms(EXPLAIN_MS);
	struct err said = ERR_INIT;
	struct msg m;

	if (r >= 0 || e->class != ERR_PEER || !s->flow.connected || s->flow.control.aborted)
		return r;
	while (channel_recv(&s->flow.control, &m, deadline, &said) == 0)
		msg_done(&m);
	if (s->flow.control.aborted)
		*e = said;
	return -e->code;
}

/* --- the link breaks after the commit --------------------------------------------------------- */

static int watch_flow(struct source *s, struct err *e)
{
	int r = waiter_add_transport(&s->waiter, s->flow.control.transport, on_control, s);

	return r < 0 ? err_sys(e, -r, "waiting for the peer") : flow_watch(&s->flow, &s->waiter, e);
}

static void watch_nothing(struct source *s)
{
	if (s->flow.connected)
		waiter_remove(&s->waiter, transport_fd(s->flow.control.transport));
	flow_unwatch(&s->flow, &s->waiter);
}

static bool is_link_lost(const struct source *s, const struct err *e)
{
	return e->class == ERR_PEER && !s->flow.control.aborted;
}

/* @e comes in with what broke. A signal ends the attempts and nothing else: the container is as safe as
 * it was. */
static int reconnect(struct source *s, enum msg_state *ret, struct err *e)
{
	int r;

	report_phase(s->report, "pause", "link lost, reconnecting");
	report_note(s->report, e->text);
	watch_nothing(s);
	s->resume.flow = &s->flow;
	s->resume.id = s->id;
	s->resume.space = &s->copier.space;
	s->resume.streams = s->o->streams;
	s->resume.bandwidth = s->o->bandwidth;
	*e = ERR_INIT;
	s->signals.ignore = false;
	r = resume_run(&s->resume, &s->signals, ret, e);
	s->signals.ignore = true;
	return r < 0 ? r : watch_flow(s, e);
}

static int send_control(struct source *s, enum msg_type type, const void *body, struct err *e)
{
	return channel_send(&s->flow.control, type, body, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

/* --- check ------------------------------------------------------------------------------------ */

static int check_here(struct source *s, struct err *e)
{
	struct verdicts *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_sys(e, ENOMEM, "checks");
	check_host(&s->host, l);
	check_container(&s->facts, l);
	r = verdicts_report(l, NULL, s->report, e);
	free(l);
	return r < 0 ? r : departure_init(&s->departure, &s->facts, e);
}

static int connect_target(struct source *s, struct err *e)
{
	static const uint8_t no_token[MSG_ID_LEN];
	int r = link_init(&s->flow.link, s->o->target, &s->identity, &s->peers, e);

	if (r == 0)
		r = flow_open_control(&s->flow, no_token, e);
	if (r < 0)
		return r;
	return waiter_add_transport(&s->waiter, s->flow.control.transport, on_control, s);
}

static int take_verdicts(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = outwait(s, MSG_VERDICTS, CHECK_MS, &m, e);

	if (r == 0)
		r = verdicts_take(&m.body.verdicts, s->flow.control.peer, s->token, s->report, e);
	msg_done(&m);
	return r;
}

static int run_check(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r;

	report_phase(s->report, "check", "can it move?");
	host_facts_read(&s->host);
	r = container_facts_read(s->o->container, &s->facts, e);
	if (r == 0)
		r = journal_check_free(s->facts.c.id, e);
	if (r == 0)
		r = check_here(s, e);
	if (r == 0)
		r = identity_load(s->o->config_dir, &s->identity, e);
	if (r == 0)
		r = peers_load(s->o->config_dir, &s->peers, e);
	if (r == 0)
		r = connect_target(s, e);
	if (r == 0)
		r = FAULT(source_connected, e);
	if (r == 0)
		r = offer_send(&s->flow.control, s->id, s->o, &s->host, &s->facts,
			deadline_in_ms(CHANNEL_SILENCE_MS), e);
	if (r == 0)
		r = take_verdicts(s, e);
	if (r == 0)
		r = FAULT(source_judged, e);
	return r < 0 ? r : s->o->dry_run;
}

/* Tells the target why; whatever else has to be undone has been. */
static void undo_check(void *ctx)
{
	struct source *s = ctx;

	if (s->flow.connected)
		channel_abort(&s->flow.control, s->why);
}

/* --- prepare ---------------------------------------------------------------------------------- */

static int start_sender(struct source *s, struct err *e)
{
	int r = flow_start_sender(&s->flow, e);

	return r < 0 ? r : flow_watch(&s->flow, &s->waiter, e);
}

/* runc's restore needs this one file before it starts CRIU, and it is known before the dump. */
static int send_prepare(struct source *s, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct msg_prepare m;
	size_t len;
	int r = file_read(WORKPLACE_IMAGES "/" IMAGE_DESCRIPTORS, MSG_DESCRIPTORS_MAX, &text, &len);

	if (r < 0)
		return err_sys(e, -r, "reading runc's %s", IMAGE_DESCRIPTORS);
	m.descriptors = (struct msg_bytes){text, len};
	return send_control(s, MSG_PREPARE, &m, e);
}

/* Both sides start runc and CRIU now, so that their start costs no downtime. */
static int run_prepare(void *ctx, struct err *e)
{
	struct source *s = ctx;
	char key[FINGERPRINT_TEXT];
	struct msg m = MSG_INIT;
	int r;

	s->dump_options = (struct dump_options){
		.images = WORKPLACE_IMAGES, .lazy = true, .tcp_established = true,
		.file_locks = s->facts.has_file_locks};
	report_phase(s->report, "prepare", "both sides make ready");
	link_key(&s->flow.link, key);
	r = journal_begin(&s->journal, s->id, true, &(struct journal_subject){
		.container = s->facts.c.id, .peer = s->o->target, .address = s->facts.config.address,
		.netns = s->facts.config.netns, .network = s->facts.config.network,
		.cgroup = s->facts.c.cgroup, .key = key}, e);
	if (r == 0)
		r = FAULT(source_journal_prepared, e);
	if (r == 0)
		r = departure_prepare(&s->departure, s->report, e);
	if (r == 0)
		r = guard_start(&s->guard, &s->journal, s->o->config_dir,
			departure_guarded_fd(&s->departure), e);
	if (r == 0)
		r = FAULT(source_guarded, e);
	if (r == 0)
		r = workplace_enter(e);
	if (r == 0)
		r = dump_prepare(&s->dump, &s->facts.c, s->facts.config.criu_config, e);
	if (r == 0)
		r = dump_start(&s->dump, &s->dump_options, &s->waiter, e);
	if (r == 0)
		r = FAULT(source_dump_started, e);
	if (r == 0)
		cgroup_rhythm_learn(&s->rhythm, s->facts.c.cgroup);
	if (r == 0)
		r = send_prepare(s, e);
	if (r == 0)
		r = FAULT(source_prepare_sent, e);
	if (r == 0)
		r = explain(s, flow_open_others(&s->flow, s->token, s->o->streams, e), e);
	if (r == 0)
		r = wait_message(s, MSG_PREPARED, &m, e);
	msg_done(&m);
	if (r == 0)
		r = FAULT(source_prepared, e);
	return r < 0 ? r : start_sender(s, e);
}

static void undo_prepare(void *ctx)
{
	struct source *s = ctx;

	dump_revoke(&s->dump);
	journal_end(&s->journal);
}

/* --- copy ------------------------------------------------------------------------------------- */

/* What a tracker that can't look while the container runs has cost it. */
static void note_stops(struct source *s)
{
	char text[128];

	if (s->copier.stopped_ns == 0)
		return;
	snprintf(text, sizeof(text), "it was stopped for at most %.1f ms in each round (%s)",
		(double)s->copier.stopped_ns / NSEC_PER_MSEC, tracker_backend(s->copier.tracker));
	report_note(s->report, text);
}

/* *ret stays NULL where nothing is copied before the freeze. */
static int choose_tracker(struct source *s, struct tracker **ret, struct err *e)
{
	struct err why = ERR_INIT;
	int r;

	*ret = NULL;
	if (s->o->mode != MODE_PRE && s->o->mode != MODE_HYBRID)
		return 0;
	r = tracker_new(s->o->tracker, ret, &why);
	if (r < 0 && s->o->mode == MODE_HYBRID) {
		/* Hybrid without its first half is post-copy. */
		report_note(s->report, why.text);
		return 0;
	}
	if (r < 0)
		*e = why;
	return r;
}

static int get_ready(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r = send_control(s, MSG_FREEZE, NULL, e);

	return r < 0 ? r : warm_up(&s->flow.control, eager_total(&s->facts.eager), &s->warmth, &s->waiter, e);
}

static int copy_rounds(struct source *s, struct err *e)
{
	const struct rounds rounds = {
		.copier = &s->copier,
		.sender = s->flow.sender,
		.waiter = &s->waiter,
		.report = s->report,
		.limits = {
			.max_downtime_ns = s->o->max_downtime_ms * NSEC_PER_MSEC,
			.eager_bytes = eager_total(&s->facts.eager),
			.hybrid = s->o->mode == MODE_HYBRID,
			.throttle = s->o->throttle,
		},
		.show = show_progress,
		.ready = get_ready,
		.ctx = s,
	};
	int r;

	report_phase(s->report, "copy", "its memory goes over while it runs");
	s->copy_start = clock_now();
	r = rounds_run(&rounds, &s->plan, e);
	s->copy_end = clock_now();
	s->copier.ahead_bytes = (uint64_t)(s->plan.rate * AHEAD_S);
	note_stops(s);
	if (r == 0)
		r = FAULT(source_copied, e);
	return explain(s, r, e);
}

static int run_copy(void *ctx, struct err *e)
{
	struct source *s = ctx;
	struct tracker *tracker;
	int r = choose_tracker(s, &tracker, e);

	if (r < 0)
		return r;
	sender_limit(s->flow.sender, s->o->bandwidth);
	r = copier_init(&s->copier, s->flow.sender, tracker, s->facts.c.cgroup, e);
	return r < 0 || !tracker ? r : copy_rounds(s, e);
}

static void stop_sending(struct source *s)
{
	flow_unwatch(&s->flow, &s->waiter);
	flow_stop_sender(&s->flow);
}

static void undo_copy(void *ctx)
{
	stop_sending(ctx);
}

/* --- freeze and dump -------------------------------------------------------------------------- */

/* It runs before all of its memory is there. */
static bool is_lazy(const struct source *s)
{
	return s->o->mode == MODE_POST || s->o->mode == MODE_HYBRID;
}

static int run_dump(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r = get_ready(s, e);

	if (r < 0)
		return explain(s, r, e);
	report_phase(s->report, "freeze", "the container stands still and is dumped");
	r = s->looks_itself ? 0 : large_look(&s->large, s->facts.c.cgroup, e);
	/* Before packets are held: to them that would be a part of the freeze. */
	if (r == 0)
		cgroup_rhythm_await(&s->rhythm);
	if (r == 0)
		r = departure_hold(&s->departure, &s->waiter, e);
	if (r == 0)
		r = FAULT(source_held, e);
	/* Unless all of the bulk is waited for anyway. */
	if (is_lazy(s))
		flow_leave_room(&s->flow, s->o->bandwidth);
	flow_hurry(&s->flow);
	/* CRIU waits for its answers. */
	thread_come_first(0, true);
	if (r == 0)
		r = dump_freeze(&s->dump, e);
	if (r == 0)
		r = FAULT(source_frozen, e);
	if (r == 0)
		r = large_narrow(&s->large, e);
	if (r < 0)
		return r;
	dump_begin(&s->dump);
	r = journal_step(&s->journal, "frozen", e);
	if (r == 0)
		r = FAULT(source_journal_frozen, e);
	if (r == 0)
		r = copier_freeze(&s->copier, e);
	if (r == 0)
		r = FAULT(source_cut, e);
	if (r == 0)
		r = large_list(&s->large, e);
	if (r == 0)
		r = dump_complete(&s->dump, &s->waiter, e);
	if (r == 0)
		r = large_verify(&s->large, e);
	return r < 0 ? r : FAULT(source_dumped, e);
}

static void undo_dump(void *ctx)
{
	struct source *s = ctx;

	stop_sending(s);
	dump_revoke(&s->dump);
	departure_let_go(&s->departure, s->report);
	thread_come_first(0, false);
}

/* --- send ------------------------------------------------------------------------------------- */

/* The lazy pages of one process that the target lacks. */
static int push_rest(struct source *s, uint32_t vpid, struct err *e)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
	int r = images_lazy_pages(WORKPLACE_IMAGES, vpid, &lazy, e);

	return r < 0 ? r : copier_rest(&s->copier, vpid, &lazy, e);
}

static int push_all(struct source *s, struct err *e)
{
	uint32_t *vpids;
	size_t n;
	int r = images_processes(WORKPLACE_IMAGES, &vpids, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = push_rest(s, vpids[i], e);
	free(vpids);
	sender_finish(s->flow.sender);
	return r;
}

static uint64_t phase_ns(const struct msg_phases *m, const char *name)
{
	const struct msg_phase *p = m->list.v;

	for (size_t i = 0; i < m->list.n; i++)
		if (strcmp(msg_text(&p[i].name), name) == 0)
			return p[i].ns;
	return 0;
}

/* The flags of memory that CRIU was shown; before the commit. */
static int confirm_view(struct source *s, int r, struct err *e)
{
	/* A page may not be there to be read just because it has been advised away (MADV_GUARD_INSTALL). */
	if (r < 0 && e->code != EFAULT)
		return r;
	s->advised = large_was_advised(&s->large);
	if (!s->advised)
		return r;
	return err_set(e, ERR_LOCAL, EAGAIN, "an application changed what it advises about its memory "
					     "(madvise) at the moment of the freeze");
}

static int wait_restored(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = wait_message(s, MSG_RESTORED, &m, e);

	s->restored = clock_now();
	if (r == 0)
		s->target_address_ns = phase_ns(&m.body.phases, "address");
	msg_done(&m);
	return r < 0 ? r : FAULT(source_restored, e);
}

static int run_send(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r;

	report_phase(s->report, "send", "images and memory go over, the target restores");
	r = departure_release(&s->departure, e);
	if (r == 0)
		r = FAULT(source_released, e);
	if (r == 0)
		r = large_add(&s->large, WORKPLACE_IMAGES, e);
	if (r == 0)
		r = flow_start_answerer(&s->flow, &s->copier.space, e);
	if (r == 0)
		r = flow_watch(&s->flow, &s->waiter, e);
	if (r < 0)
		return r;
	/* The restore waits for the images, nothing yet for the pages. */
	sender_pause(s->flow.sender, true);
	s->images_at = clock_now();
	r = images_send(&s->flow.control, WORKPLACE_IMAGES, flow_link_rate(&s->flow), e);
	s->images_sent = clock_now();
	if (r == 0)
		r = FAULT(source_images_sent, e);
	sender_pause(s->flow.sender, false);
	if (r == 0)
		r = departure_forward(&s->departure, &s->waiter, &s->flow.control, e);
	if (r == 0)
		r = push_all(s, e);
	/* All of the memory may take long to come, and the container would be in doubt as long. */
	s->commits_early = is_lazy(s) && warm_is_long(&s->flow.control);
	if (r == 0 && !s->commits_early)
		r = wait_restored(s, e);
	return confirm_view(s, explain(s, r, e), e);
}

/* The target has to let go of the address before it comes back here: it closes when it has. */
static void undo_send(void *ctx)
{
	struct source *s = ctx;
	uint64_t deadline = deadline_in_ms(GIVE_UP_MS);
	struct msg m;

	channel_abort(&s->flow.control, s->why);
	while (s->flow.connected && channel_recv(&s->flow.control, &m, deadline, NULL) == 0)
		msg_done(&m);
	watch_nothing(s);
	flow_cut(&s->flow);
	departure_revoke(&s->departure);
}

/* --- commit ----------------------------------------------------------------------------------- */

static int in_doubt(struct source *s, struct err *e)
{
	err_wrap(e, "in doubt: the hand-over to %s was under way", s->flow.control.peer);
	return err_remedy(e, "the container stays frozen here. When nothing of godwit's works on it on %s "
			     "any more: if 'runc list' there says that it runs, 'runc delete --force "
			     "%s' here, else 'runc resume %s'",
		s->flow.control.peer, s->facts.c.id, s->facts.c.id);
}

/* COMMIT or RUNNING may have been lost with the link. @r: with which error. */
static int ask_who_owns(struct source *s, int r, struct err *e)
{
	enum msg_state state = STATE_UNDECIDED;
	struct err why = *e;

	if (is_link_lost(s, e))
		r = reconnect(s, &state, e);
	if (state == STATE_UNKNOWN) {
		s->owner = OWNER_HERE;
		*e = why;
		return -e->code;
	}
	if (state != STATE_DRAINING && state != STATE_DRAINED)
		return in_doubt(s, e);
	s->owner = OWNER_THERE;
	s->drained_there = state == STATE_DRAINED;
	return r;
}

static int run_commit(void *ctx, struct err *e)
{
	struct source *s = ctx;
	struct msg m = MSG_INIT;
	int r = journal_step(&s->journal, "committed", e);

	if (r == 0)
		r = FAULT(source_journal_committed, e);
	if (r < 0)
		return r;
	s->owner = OWNER_UNKNOWN;
	s->signals.ignore = true;
	r = send_control(s, MSG_COMMIT, NULL, e);
	if (r == 0)
		r = FAULT(source_commit_sent, e);
	if (r == 0 && s->commits_early)
		r = wait_restored(s, e);
	if (r == 0)
		r = wait_message(s, MSG_RUNNING, &m, e);
	r = explain(s, r, e);
	s->running = clock_now();
	if (r == 0) {
		s->target_announced_ns = phase_ns(&m.body.phases, "announced");
		s->owner = OWNER_THERE;
		sender_limit(s->flow.sender, s->o->bandwidth);
	}
	msg_done(&m);
	if (r < 0 && s->flow.control.aborted)
		s->owner = OWNER_HERE;
	else if (r < 0)
		r = ask_who_owns(s, r, e);
	if (r == 0)
		r = FAULT(source_running, e);
	return r < 0 ? r : departure_running(&s->departure, e);
}

/* --- drain and finish ------------------------------------------------------------------------- */

/* Up to the good-bye: all of it anew when the link breaks. */
static int drain(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = s->drained_there ? 0 : explain(s, wait_message(s, MSG_DRAINED, &m, e), e);

	if (r < 0)
		return r;
	s->drained = clock_now();
	/* The target ends these connections as soon as it has said good-bye, which may come later than their end. */
	flow_unwatch(&s->flow, &s->waiter);
	if (!s->drained_there) {
		s->result = m.body.drained;
		s->has_result = true;
	}
	msg_done(&m);
	r = FAULT(source_drained, e);
	if (r == 0)
		r = journal_step(&s->journal, "drained", e);
	if (r == 0)
		r = FAULT(source_journal_drained, e);
	if (r == 0)
		r = departure_linger(&s->departure, e);
	departure_leave(&s->departure, s->has_result ? &s->result : NULL, s->report);
	if (r == 0)
		r = send_control(s, MSG_BYE, NULL, e);
	if (r == 0)
		r = wait_message(s, MSG_BYE, &m, e);
	msg_done(&m);
	s->parted = r == 0;
	if (r == 0)
		r = FAULT(source_bye_came, e);
	return r;
}

static int reconnect_to_drain(struct source *s, struct err *e)
{
	enum msg_state state;
	int r = reconnect(s, &state, e);

	if (r < 0)
		return r;
	if (state != STATE_DRAINING && state != STATE_DRAINED)
		return err_set(e, ERR_REFUSED, EPROTO, "%s does not know of it any more, or has "
			       "lost what it had", s->o->target);
	s->drained_there = state == STATE_DRAINED;
	report_phase(s->report, "drain", "the link is back");
	return 0;
}

static int not_all_there(struct source *s, struct err *e)
{
	err_wrap(e, "the container runs on %s, but not all of its memory is there", s->o->target);
	return err_remedy(e, "pages that are missing there wait here in the frozen container %s: do not "
			     "delete it. A process in the background goes on trying for a while, and after "
			     "that 'godwit recover' when %s can be reached; 'godwit status' shows it",
		s->facts.c.id, s->o->target);
}

static int run_drain(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r;

	thread_come_first(0, false);
	report_phase(s->report, "drain", "it runs there; the rest of the memory follows");
	r = drain(s, e);
	while (r < 0 && is_link_lost(s, e)) {
		r = reconnect_to_drain(s, e);
		if (r < 0)
			break;
		r = drain(s, e);
	}
	return r == 0 || s->drained ? 0 : not_all_there(s, e);
}

/* The journal, say, could not be written. Without an entry nobody will ask the target any more, so that it
 * may forget. */
static void part_late(struct source *s)
{
	struct err e = ERR_INIT;
	struct msg m = MSG_INIT;
	char text[ERR_TEXT_MAX + 128];
	int r = s->flow.connected ? 0 : err_set(&e, ERR_PEER, ENOTCONN, "no link");

	if (r == 0)
		r = send_control(s, MSG_BYE, NULL, &e);
	if (r == 0)
		r = wait_message(s, MSG_BYE, &m, &e);
	msg_done(&m);
	if (r == 0)
		return;
	snprintf(text, sizeof(text), "the target has everything, but could not be told good-bye (%s): its "
				     "'godwit status' will still show it", e.text);
	report_note(s->report, text);
}

static int run_finish(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r;

	s->wire_bytes = flow_bytes(&s->flow);
	r = dump_finish(&s->dump, e);
	if (r == 0)
		r = FAULT(source_deleted, e);
	if (r == 0)
		r = departure_finish(&s->departure, e);
	if (r == 0)
		journal_end(&s->journal);
	if (r == 0 && !s->parted)
		part_late(s);
	return r;
}

/* --- the whole -------------------------------------------------------------------------------- */

static const struct stage stages[] = {
	{"check", run_check, undo_check},
	{"prepare", run_prepare, undo_prepare},
	{"copy", run_copy, undo_copy},
	{"dump", run_dump, undo_dump},
	{"send", run_send, undo_send},
	{"commit", run_commit, NULL},
	{"drain", run_drain, NULL},
	{"finish", run_finish, NULL},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool is_revocable(const void *ctx)
{
	return ((const struct source *)ctx)->owner == OWNER_HERE;
}

static const char *mode_name(enum msg_mode mode)
{
	static const char *const names[] = {
		[MODE_STOP] = "stop", [MODE_POST] = "post", [MODE_PRE] = "pre", [MODE_HYBRID] = "hybrid"};

	return names[mode];
}

static void summarize(struct source *s)
{
	char host[256] = "?";
	const struct dump *d = &s->dump;
	const struct departure *out = &s->departure;
	double address = clock_diff_ms(out->address_at, out->address_gone) +
		(double)s->target_address_ns / NSEC_PER_MSEC;
	struct summary sum = {
		.container = s->facts.c.id,
		.from = host,
		.to = s->o->target,
		.mode = mode_name(s->o->mode),
		.rounds = s->copier.rounds,
		.predicted_ms = s->plan.predicted_ms,
		.copy_ms = clock_diff_ms(s->copy_start, s->copy_end),
		.ok = true,
		.frozen_at = clock_wall_of(d->freeze_start),
		.running_at = clock_wall_of(s->running),
		.total_ms = clock_diff_ms(s->started, clock_now()),
		.freeze_ms = clock_diff_ms(d->freeze_start, s->running),
		.drain_ms = clock_diff_ms(s->running, s->drained),
		.lost_ms = (double)s->resume.lost_ns / NSEC_PER_MSEC,
		.interruptions = s->resume.times,
		.bytes = s->wire_bytes,
		.has_result = s->has_result,
		.memory_bytes = PAGES_TO_BYTES(s->result.pages),
		.zero_bytes = PAGES_TO_BYTES(s->result.zero_pages),
		.faults = s->result.faults,
		.urgent = s->result.urgent,
		.fault_p50_us = (double)s->result.fault_p50_ns / 1000,
		.fault_p99_us = (double)s->result.fault_p99_ns / 1000,
		.store_peak = s->result.store_peak,
		.has_address = departure_has_address(out),
		.address = {
			.hold_ms = clock_diff_ms(out->hold_at, d->freeze_start),
			.silent_ms = clock_diff_ms(out->address_gone, s->running - s->target_announced_ns),
			.connections = out->sockets.connections,
			.held = out->held + s->result.packets_held,
			.delivered = s->result.packets_delivered + s->result.packets_held,
			.forwarded = out->forwarded,
			.late = out->late + s->result.packets_late,
			.overflowed = out->stats.overflow + s->result.packets_overflow,
		},
	};

	gethostname(host, sizeof(host) - 1);
	text_clean(host);
	summary_part(&sum, "freeze", clock_diff_ms(d->freeze_start, d->frozen_at));
	summary_part(&sum, "dump", clock_diff_ms(d->frozen_at, d->dumped_at));
	summary_part(&sum, "send", clock_diff_ms(s->images_at, s->images_sent));
	summary_part(&sum, "restore", clock_diff_ms(s->images_sent, s->restored) -
			(double)s->target_address_ns / NSEC_PER_MSEC);
	summary_part(&sum, "gate", clock_diff_ms(s->restored, s->running));
	summary_part(&sum, "address", address);
	report_summary(s->report, &sum);
}

/* Threads first, then what they use. */
static void source_done(struct source *s)
{
	flow_done(&s->flow);
	dump_done(&s->dump);
	copier_done(&s->copier);
	large_done(&s->large);
	cgroup_rhythm_done(&s->rhythm);
	peers_done(&s->peers);
	identity_done(&s->identity);
	container_facts_done(&s->facts);
	signals_done(&s->signals);
	guard_done(&s->guard);
	departure_done(&s->departure);
	free(s);
}

/* @again: in, CRIU has to look at all memory itself; out, that would help. */
static int attempt(const struct source_options *o, struct report *report, uint64_t started, bool *again,
	struct err *e)
{
	struct source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_sys(e, ENOMEM, "migration");
	s->o = o;
	s->report = report;
	s->why = e;
	s->started = started;
	s->looks_itself = *again;
	s->dump = DUMP_INIT;
	s->rhythm = CGROUP_RHYTHM_INIT;
	s->departure = DEPARTURE_INIT;
	s->signals.fd = -1;
	s->guard = GUARD_INIT;
	s->owner = OWNER_HERE;
	r = getrandom(s->id, sizeof(s->id), 0) == sizeof(s->id) ? 0 : err_sys(e, errno, "random id");
	if (r == 0)
		r = signals_watch(&s->signals, &s->waiter, e);
	if (r == 0)
		r = stages_walk(stages, COUNT(stages), s, is_revocable, e);
	if (r == 0 && !o->dry_run)
		summarize(s);
	*again = r < 0 && s->advised;
	source_done(s);
	return r;
}

int source_run(const struct source_options *o, struct report *report, struct err *e)
{
	uint64_t started = clock_now();
	bool again = false;
	int r = attempt(o, report, started, &again, e);

	if (!again)
		return r;
	report_note(report, e->text);
	report_note(report, "all is undone, and now done once more");
	*e = ERR_INIT;
	r = workplace_leave(e);
	return r < 0 ? r : attempt(o, report, started, &again, e);
}
