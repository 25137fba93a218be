/* SPDX-License-Identifier: Apache-2.0 */
/* The target as the source sees it: what it says, what it is told, and a link that breaks after the commit. */
#include "migrate/source_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

#define EXPLAIN_MS 500

static uint64_t total_pages(const struct source *s)
{
	return BYTES_TO_PAGES(s->facts.memory_bytes);
}

void source_show_progress(void *ctx)
{
	struct source *s = ctx;
	uint64_t done = flow_pages(&s->flow);

	if (done > total_pages(s))
		done = total_pages(s);
	report_progress(s->report, PAGES_TO_BYTES(done), s->facts.memory_bytes);
}

int source_send_control(struct source *s, enum msg_type type, const void *body, struct err *e)
{
	return channel_send(&s->flow.control, type, body, deadline_in_ms(CHANNEL_SILENCE_MS), e);
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
		source_show_progress(s);
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

int source_outwait(struct source *s, enum msg_type type, uint64_t silence_ms, struct msg *ret, struct err *e)
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

int source_wait_message(struct source *s, enum msg_type type, struct msg *ret, struct err *e)
{
	return source_outwait(s, type, CHANNEL_SILENCE_MS, ret, e);
}

int source_explain(struct source *s, int r, struct err *e)
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

uint64_t source_phase_ns(const struct msg_phases *m, const char *name)
{
	const struct msg_phase *p = m->list.v;

	for (size_t i = 0; i < m->list.n; i++)
		if (strcmp(msg_text(&p[i].name), name) == 0)
			return p[i].ns;
	return 0;
}

/* --- the link breaks after the commit --------------------------------------------------------- */

int source_watch_control(struct source *s, struct err *e)
{
	int r = waiter_add_transport(&s->waiter, s->flow.control.transport, on_control, s);

	return r < 0 ? err_sys(e, -r, "waiting for the peer") : 0;
}

static int watch_flow(struct source *s, struct err *e)
{
	int r = source_watch_control(s, e);

	return r < 0 ? r : flow_watch(&s->flow, &s->waiter, e);
}

void source_watch_nothing(struct source *s)
{
	if (s->flow.connected)
		waiter_remove(&s->waiter, transport_fd(s->flow.control.transport));
	flow_unwatch(&s->flow, &s->waiter);
}

bool source_lost_link(const struct source *s, const struct err *e)
{
	return e->class == ERR_PEER && !s->flow.control.aborted;
}

int source_reconnect(struct source *s, enum msg_state *ret, struct err *e)
{
	int r;

	report_phase(s->report, "pause", "link lost, reconnecting");
	report_note(s->report, e->text);
	source_watch_nothing(s);
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
