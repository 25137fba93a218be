/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/resume.h"

#include "base/clock.h"
#include "migrate/wait.h"

#include <errno.h>
#include <string.h>

#define FIRST_PAUSE_MS 250
#define LAST_PAUSE_MS 10000
#define SAME_NS (20 * NSEC_PER_SEC)

static int ask(const struct resume *w, struct msg_answer *ret, struct err *e)
{
	static const uint8_t no_token[MSG_ID_LEN];
	struct msg_ask q;
	struct msg m = MSG_INIT;
	int r = flow_open_control(w->flow, no_token, e);

	memcpy(q.id, w->id, MSG_ID_LEN);
	if (r == 0)
		r = channel_send(&w->flow->control, MSG_ASK, &q, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	if (r == 0)
		r = channel_expect(&w->flow->control, MSG_STATE, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	*ret = m.body.answer;
	msg_done(&m);
	return r;
}

/* --- what is lacking -------------------------------------------------------------------------- */

/* Of the process that is being listed. */
struct lacks {
	const struct resume *w;
	const struct process *process;
	uint32_t vpid;
	size_t region;
	struct ranges ranges;
};

static int push(struct lacks *l, struct err *e)
{
	int r = l->process ? sender_push(l->w->flow->sender, l->process, &l->ranges, false) : 0;

	ranges_done(&l->ranges);
	return r < 0 ? err_sys(e, -r, "memory of process %u", l->vpid) : 0;
}

static int begin_process(struct lacks *l, uint32_t vpid, struct err *e)
{
	int r = push(l, e);

	if (r < 0)
		return r;
	if (vpid < l->vpid)
		return err_set(e, ERR_PEER, EPROTO, "what is lacking goes back to process %u", vpid);
	l->process = space_find(l->w->space, vpid);
	l->vpid = vpid;
	l->region = 0;
	return l->process ? 0 : err_set(e, ERR_PEER, ESRCH, "process %u is unknown", vpid);
}

/* Only what there is, and ascending: so the peer can't make us note more than that. */
static bool is_mapped(struct lacks *l, uint64_t at, uint64_t end)
{
	const struct process *p = l->process;

	while (l->region < p->n_regions && at < end) {
		const struct region *g = &p->regions[l->region];

		if (g->end <= at) {
			l->region++;
			continue;
		}
		if (g->start > at)
			return false;
		at = g->end;
	}
	return at >= end;
}

static int take_lack(struct lacks *l, const struct msg_lack *m, struct err *e)
{
	uint64_t end = m->addr + PAGES_TO_BYTES(m->pages);
	int r = !l->process || m->vpid != l->vpid ? begin_process(l, m->vpid, e) : 0;

	if (r < 0)
		return r;
	if (l->ranges.n > 0 && m->addr < l->ranges.v[l->ranges.n - 1].end)
		return err_set(e, ERR_PEER, EPROTO, "what is lacking goes back");
	if (!is_mapped(l, m->addr, end))
		return err_set(e, ERR_PEER, EFAULT, "page %#llx of process %u is not there",
			(unsigned long long)m->addr, m->vpid);
	r = ranges_add(&l->ranges, m->addr, end);
	return r < 0 ? err_sys(e, -r, "list of what is lacking") : 0;
}

static int take_list(struct lacks *l, const struct msg_lacking *m, struct err *e)
{
	const struct msg_lack *v = m->list.v;
	int r = 0;

	if (m->more && m->list.n == 0)
		return err_set(e, ERR_PEER, EPROTO, "an endless list of what is lacking");
	for (size_t i = 0; r == 0 && i < m->list.n; i++)
		r = take_lack(l, &v[i], e);
	return r;
}

static int take_lacks(const struct resume *w, struct err *e)
{
	struct lacks l = {.w = w};
	bool more = true;
	int r = 0;

	while (r == 0 && more) {
		struct msg m;

		r = channel_expect(&w->flow->control, MSG_LACKING, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
		if (r == 0)
			r = take_list(&l, &m.body.lacking, e);
		more = r == 0 && m.body.lacking.more;
		msg_done(&m);
	}
	if (r == 0)
		r = push(&l, e);
	ranges_done(&l.ranges);
	return r;
}

/* --- going on --------------------------------------------------------------------------------- */

static int go_on(const struct resume *w, const uint8_t token[static MSG_ID_LEN], struct err *e)
{
	struct flow *f = w->flow;
	struct msg_resume m = {.streams = (uint8_t)w->streams};
	int r;

	flow_cut(f);
	r = flow_open_control(f, token, e);
	if (r == 0)
		r = channel_send(&f->control, MSG_RESUME, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	if (r == 0)
		r = flow_open_others(f, token, w->streams, e);
	if (r == 0)
		r = flow_start_answerer(f, w->space, e);
	if (r == 0)
		r = flow_start_sender(f, e);
	if (r < 0)
		return r;
	sender_limit(f->sender, w->bandwidth);
	/* Somebody waits for it. */
	flow_hurry(f);
	r = take_lacks(w, e);
	sender_finish(f->sender);
	return r;
}

int resume_try(const struct resume *w, enum msg_state *ret, struct err *e)
{
	struct msg_answer a;
	int r;

	flow_cut(w->flow);
	r = ask(w, &a, e);
	if (r == 0 && a.state == STATE_DRAINING)
		r = go_on(w, a.token, e);
	if (r < 0)
		flow_cut(w->flow);
	else
		*ret = a.state;
	return r;
}

static int try_often(const struct resume *w, struct signals *signals, enum msg_state *ret,
	struct err *e)
{
	uint64_t pause = FIRST_PAUSE_MS, deadline = w->since + RESUME_MS * NSEC_PER_MSEC;
	struct waiter alone = WAITER_INIT;
	int r = signals_also(signals, &alone);

	while (r == 0) {
		*e = ERR_INIT;
		r = resume_try(w, ret, e);
		if (r == 0 && *ret != STATE_UNDECIDED)
			return 0;
		if ((r < 0 && e->class != ERR_PEER) || deadline_passed(deadline))
			break;
		r = waiter_wait(&alone, -1, deadline_in_ms(pause), e);
		r = r == -ETIMEDOUT ? 0 : r;
		pause = pause * 2 < LAST_PAUSE_MS ? pause * 2 : LAST_PAUSE_MS;
	}
	return r < 0 ? r : err_set(e, ERR_PEER, ETIMEDOUT, "the target can not tell yet");
}

/* A link that breaks again at once was never back. */
int resume_run(struct resume *w, struct signals *signals, enum msg_state *ret, struct err *e)
{
	uint64_t now = clock_now();
	int r;

	if (w->back_at == 0 || now - w->back_at > SAME_NS) {
		w->since = now;
		w->times++;
	}
	r = try_often(w, signals, ret, e);
	w->back_at = clock_now();
	w->lost_ns += w->back_at - now;
	return r;
}

int resume_bye(struct flow *f, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = channel_send(&f->control, MSG_BYE, NULL, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r == 0)
		r = channel_expect(&f->control, MSG_BYE, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	msg_done(&m);
	return r;
}
