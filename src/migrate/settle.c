/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/settle.h"

#include "base/clock.h"
#include "base/hex.h"
#include "migrate/resume.h"
#include "migrate/wait.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS 2

struct settlement {
	struct journal *journal;
	const struct recovery_means *means;
	struct identity identity;
	struct peers peers;
	struct flow flow;
	struct space space;
	struct waiter waiter;
	struct resume resume;
	uint8_t id[MSG_ID_LEN];
};

/* Of the very target: one with another key may be another host, which knows nothing. */
static int init_link(struct settlement *s, struct err *e)
{
	const struct journal *j = s->journal;
	char key[FINGERPRINT_TEXT];
	int r = link_init(&s->flow.link, j->peer, &s->identity, &s->peers, e);

	if (r < 0)
		return r;
	link_key(&s->flow.link, key);
	return strcmp(key, j->key) == 0 ? 0
		: err_set(e, ERR_REFUSED, EACCES, "%s has another key than when it was handed over",
			j->peer);
}

static int open_space(struct settlement *s, struct err *e)
{
	pid_t *pids = NULL;
	size_t n = 0;
	int r = s->journal->gone ? -ENOENT : cgroup_processes(s->journal->cgroup, &pids, &n);

	/* Without it there is nothing to send, and still something to ask. */
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "processes of %s", s->journal->cgroup);
	r = space_open(&s->space, pids, n, e);
	free(pids);
	return r;
}

static int prepare(struct settlement *s, struct err *e)
{
	int r = identity_load(s->means->config_dir, &s->identity, e);

	if (r == 0)
		r = peers_load(s->means->config_dir, &s->peers, e);
	if (r == 0)
		r = init_link(s, e);
	if (r == 0 && !hex_parse(s->journal->id, s->id, MSG_ID_LEN))
		r = err_set(e, ERR_LOCAL, EBADMSG, "%s has no id", s->journal->path);
	if (r == 0)
		r = open_space(s, e);
	s->resume = (struct resume){
		.flow = &s->flow, .id = s->id, .space = &s->space, .streams = STREAMS};
	return r;
}

static void show(struct settlement *s, const struct msg_progress *m)
{
	if (s->means->report)
		report_progress(s->means->report, m->done, m->total);
}

static int wait_drained(struct settlement *s, struct err *e)
{
	struct channel *c = &s->flow.control;
	enum msg_type type = MSG_PROGRESS;
	int r = 0;

	while (r == 0 && type == MSG_PROGRESS) {
		struct msg m = MSG_INIT;

		if (!transport_pending(c->transport))
			r = waiter_wait(&s->waiter, transport_fd(c->transport),
				deadline_in_ms(CHANNEL_SILENCE_MS), e);
		if (r == -ETIMEDOUT && !err_is_set(e))
			return err_set(e, ERR_PEER, ETIMEDOUT, "%s is silent", c->peer);
		if (r == 0)
			r = channel_recv(c, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
		type = m.type;
		if (r == 0 && type == MSG_PROGRESS)
			show(s, &m.body.progress);
		msg_done(&m);
	}
	if (r < 0 || type == MSG_DRAINED)
		return r;
	return err_set(e, ERR_PEER, EPROTO, "%s instead of DRAINED", msg_name(type));
}

/* It lacks memory; *state changes when it is asked anew. */
static int serve(struct settlement *s, enum msg_state *state, struct err *e)
{
	struct signals none = {.fd = -1};
	int r = 0;

	if (s->means->report)
		report_phase(s->means->report, "drain", "the rest of the memory follows");
	while (r == 0 && *state == STATE_DRAINING) {
		r = flow_watch(&s->flow, &s->waiter, e);
		if (r == 0)
			r = wait_drained(s, e);
		flow_unwatch(&s->flow, &s->waiter);
		if (r == 0)
			break;
		if (e->class == ERR_PEER && !s->flow.control.aborted)
			r = resume_run(&s->resume, &none, state, e);
	}
	return r;
}

static int first_answer(struct settlement *s, enum msg_state *ret, struct err *e)
{
	struct signals none = {.fd = -1};

	return s->means->patient ? resume_run(&s->resume, &none, ret, e)
				 : resume_try(&s->resume, ret, e);
}

static int settle(struct settlement *s, enum msg_state *ret, struct err *e)
{
	enum msg_state state = STATE_UNDECIDED;
	int r = first_answer(s, &state, e);

	if (r == 0 && state == STATE_UNKNOWN) {
		*ret = state;
		return 0;
	}
	if (r == 0)
		r = serve(s, &state, e);
	if (r == 0 && state == STATE_UNDECIDED)
		return err_set(e, ERR_PEER, EAGAIN, "%s is still at it: ask again", s->journal->peer);
	if (r == 0 && state != STATE_DRAINING && state != STATE_DRAINED)
		return err_set(e, ERR_PEER, ENOTRECOVERABLE,
			"it was handed over to %s, and what held its memory there is gone",
			s->journal->peer);
	if (r == 0)
		r = journal_step(s->journal, "drained", e);
	if (r < 0)
		return r;
	*ret = STATE_DRAINED;
	/* What it can't be told now only makes its journal longer. */
	resume_bye(&s->flow, NULL);
	return 0;
}

int settle_committed(struct journal *j, const struct recovery_means *means, enum msg_state *ret,
	struct err *e)
{
	struct settlement s = {.journal = j, .means = means, .identity = IDENTITY_INIT,
		.peers = PEERS_INIT, .space = SPACE_INIT};
	int r = prepare(&s, e);

	if (r == 0)
		r = settle(&s, ret, e);
	flow_done(&s.flow);
	space_done(&s.space);
	peers_done(&s.peers);
	identity_done(&s.identity);
	return r;
}
