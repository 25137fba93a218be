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
#include "migrate/source_impl.h"

#include "base/clock.h"
#include "base/count.h"
#include "base/fault.h"
#include "base/file.h"
#include "criu/workplace.h"
#include "migrate/images.h"
#include "migrate/offer.h"
#include "migrate/stage.h"
#include "migrate/verdicts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define CHECK_MS 600000 /* the target reads its whole copy of the root file system */
#define AHEAD_S 0.005 /* far less than CRIU takes for a dump */

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
	return r < 0 ? r : source_watch_control(s, e);
}

static int take_verdicts(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = source_outwait(s, MSG_VERDICTS, CHECK_MS, &m, e);

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
	return source_send_control(s, MSG_PREPARE, &m, e);
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
		r = source_explain(s, flow_open_others(&s->flow, s->token, s->o->streams, e), e);
	if (r == 0)
		r = source_wait_message(s, MSG_PREPARED, &m, e);
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
		.show = source_show_progress,
		.ready = source_get_ready,
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
	return source_explain(s, r, e);
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

static void undo_copy(void *ctx)
{
	source_stop_sending(ctx);
}

/* --- the whole -------------------------------------------------------------------------------- */

static const struct stage stages[] = {
	{"check", run_check, undo_check},
	{"prepare", run_prepare, undo_prepare},
	{"copy", run_copy, undo_copy},
	{"dump", source_run_dump, source_undo_dump},
	{"send", source_run_send, source_undo_send},
	{"commit", source_run_commit, NULL},
	{"drain", source_run_drain, NULL},
	{"finish", source_run_finish, NULL},
};

static bool is_revocable(const void *ctx)
{
	return ((const struct source *)ctx)->owner == OWNER_HERE;
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
	msg_done(&s->result);
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
		source_summarize(s);
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
