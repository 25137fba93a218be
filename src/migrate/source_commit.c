/* SPDX-License-Identifier: Apache-2.0 */
/* The source from the commit on: the target may run the container, and what is lacking there comes from here. */
#include "migrate/source_impl.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"

#include <errno.h>
#include <stdio.h>

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

	if (source_lost_link(s, e))
		r = source_reconnect(s, &state, e);
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

int source_run_commit(void *ctx, struct err *e)
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
	r = source_send_control(s, MSG_COMMIT, NULL, e);
	if (r == 0)
		r = FAULT(source_commit_sent, e);
	if (r == 0 && s->commits_early)
		r = source_wait_restored(s, e);
	if (r == 0)
		r = source_wait_message(s, MSG_RUNNING, &m, e);
	r = source_explain(s, r, e);
	s->running = clock_now();
	if (r == 0) {
		s->target_announced_ns = source_phase_ns(&m.body.phases, "announced");
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

/* --- drain ------------------------------------------------------------------------------------ */

/* What it tells is kept for the report. */
static int wait_drained(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = source_explain(s, source_wait_message(s, MSG_DRAINED, &m, e), e);

	if (r < 0)
		return r;
	msg_done(&s->result);
	s->result = m;
	return 0;
}

/* Up to the good-bye: all of it anew when the link breaks. */
static int drain(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = s->drained_there ? 0 : wait_drained(s, e);

	if (r < 0)
		return r;
	s->drained = clock_now();
	/* The target ends these connections as soon as it has said good-bye, which may come later than their end. */
	flow_unwatch(&s->flow, &s->waiter);
	r = FAULT(source_drained, e);
	if (r == 0)
		r = journal_step(&s->journal, "drained", e);
	if (r == 0)
		r = FAULT(source_journal_drained, e);
	if (r == 0)
		r = departure_linger(&s->departure, e);
	departure_leave(&s->departure, source_result(s), s->report);
	if (r == 0)
		r = source_send_control(s, MSG_BYE, NULL, e);
	if (r == 0)
		r = source_wait_message(s, MSG_BYE, &m, e);
	msg_done(&m);
	s->parted = r == 0;
	if (r == 0)
		r = FAULT(source_bye_came, e);
	return r;
}

static int reconnect_to_drain(struct source *s, struct err *e)
{
	enum msg_state state;
	int r = source_reconnect(s, &state, e);

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

int source_run_drain(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r;

	thread_come_first(0, false);
	report_phase(s->report, "drain", "it runs there; the rest of the memory follows");
	r = drain(s, e);
	while (r < 0 && source_lost_link(s, e)) {
		r = reconnect_to_drain(s, e);
		if (r < 0)
			break;
		r = drain(s, e);
	}
	return r == 0 || s->drained ? 0 : not_all_there(s, e);
}

/* --- finish ----------------------------------------------------------------------------------- */

/* The journal, say, could not be written. Without an entry nobody will ask the target any more, so that it
 * may forget. */
static void part_late(struct source *s)
{
	struct err e = ERR_INIT;
	struct msg m = MSG_INIT;
	char text[ERR_TEXT_MAX + 128];
	int r = s->flow.connected ? 0 : err_set(&e, ERR_PEER, ENOTCONN, "no link");

	if (r == 0)
		r = source_send_control(s, MSG_BYE, NULL, &e);
	if (r == 0)
		r = source_wait_message(s, MSG_BYE, &m, &e);
	msg_done(&m);
	if (r == 0)
		return;
	snprintf(text, sizeof(text), "the target has everything, but could not be told good-bye (%s): its "
				     "'godwit status' will still show it", e.text);
	report_note(s->report, text);
}

int source_run_finish(void *ctx, struct err *e)
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
