/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/memory_in.h"

#include "base/clock.h"
#include "criu/images.h"
#include "migrate/porter.h"

#include <errno.h>
#include <stdlib.h>

static bool is_there(const struct incoming *in)
{
	return in->channel.transport;
}

/* 1: the stream has ended. */
static int take_mark(struct incoming *in, const struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_CUT:
		in->cut = true;
		thread_priority_set(&in->priority, !in->memory->hurried);
		return 0;
	case MSG_BULK_END:
		return 1;
	default:
		return err_set(e, ERR_PEER, EPROTO, "%s out of order", msg_name(m->type));
	}
}

static int on_incoming(void *ctx, struct err *e)
{
	struct incoming *in = ctx;
	struct msg m;
	int r = channel_recv(&in->channel, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r < 0)
		return r;
	r = take_mark(in, &m, e);
	msg_done(&m);
	return r;
}

/* Once everything is installed the keeper may go, and nothing else that it says matters. */
static int on_keeper(void *ctx, struct err *e)
{
	struct memory_in *m = ctx;

	if (keeper_event(m->keeper, e) >= 0)
		return 0;
	if (!keeper_done(m->keeper))
		return -e->code;
	m->keeper_gone = e->code == EPIPE;
	*e = ERR_INIT;
	if (is_there(&m->urgent) || !m->keeper_gone)
		return 1;
	/* Or every other wait would end by it, too. */
	waiter_remove(m->waiter, keeper_event_fd(m->keeper));
	return err_set(e, ERR_CANCELLED, ESRCH, "all is here, and its keeper has ended");
}

int memory_in_start(struct memory_in *m, const struct keeper_config *c, unsigned streams,
	struct waiter *w, struct err *e)
{
	int r = keeper_start(c, &m->keeper, e);

	m->streams = streams;
	m->waiter = w;
	return r < 0 ? r : waiter_add(w, keeper_event_fd(m->keeper), on_keeper, m);
}

int memory_in_join(struct memory_in *m, struct keeper *k, struct waiter *w, struct err *e)
{
	*m = (struct memory_in){.keeper = k, .waiter = w, .hurried = true};
	return waiter_add(w, keeper_event_fd(k), on_keeper, m) < 0 ? err_sys(e, E2BIG, "keeper") : 0;
}

/* Takes over @c unless it fails. */
static int add(struct memory_in *m, struct incoming *in, struct channel *c, struct err *e)
{
	if (waiter_add(m->waiter, transport_fd(c->transport), on_incoming, in) < 0)
		return err_sys(e, E2BIG, "channels of pages");
	*in = (struct incoming){.memory = m, .channel = *c};
	return 0;
}

/* It gives way to the restore, which all wait for, until processes may wait for what it brings. */
static int add_bulk(struct memory_in *m, struct channel *c, unsigned i, struct err *e)
{
	int r = porter_carry_bulk(c, keeper_stream_line(m->keeper, i), e);

	if (r == 0)
		r = add(m, &m->bulk[i], c, e);
	if (r == 0)
		thread_priority_init(&m->bulk[i].priority, transport_carrier(c->transport), !m->hurried);
	return r;
}

static int add_urgent(struct memory_in *m, struct channel *c, struct err *e)
{
	int r = porter_carry_urgent(c, m->keeper, e);

	thread_come_first(transport_carrier(c->transport), true);
	return r < 0 ? r : add(m, &m->urgent, c, e);
}

int memory_in_add(struct memory_in *m, struct channel *c, const struct msg_hello *hello, struct err *e)
{
	int r;

	if (hello->channel == CHANNEL_BULK && hello->index < m->streams && !is_there(&m->bulk[hello->index]))
		r = add_bulk(m, c, hello->index, e);
	else if (hello->channel == CHANNEL_URGENT && !is_there(&m->urgent))
		r = add_urgent(m, c, e);
	else
		r = err_set(e, ERR_PEER, EPROTO, "an unexpected further connection");
	if (r < 0)
		channel_done(c);
	return r;
}

/* The restore waits for those that have none yet. */
static void hurry_cuts(struct memory_in *m)
{
	for (unsigned i = 0; i < m->streams; i++)
		if (is_there(&m->bulk[i]) && !m->bulk[i].cut)
			thread_priority_set(&m->bulk[i].priority, false);
}

/* CRIU touches memory while it restores: by then nothing stale may be in the store. */
int memory_in_wait_cuts(struct memory_in *m, struct err *e)
{
	hurry_cuts(m);
	for (unsigned i = 0; i < m->streams; i++)
		while (!m->bulk[i].cut) {
			int fd = transport_fd(m->bulk[i].channel.transport);
			int r = waiter_wait(m->waiter, fd, deadline_in_ms(CHANNEL_SILENCE_MS), e);

			if (r == -ETIMEDOUT && !err_is_set(e))
				return err_set(e, ERR_PEER, ETIMEDOUT, "a bulk stream has no cut");
			if (r == 0)
				r = on_incoming(&m->bulk[i], e);
			if (r < 0)
				return r;
			if (r == 1)
				return err_set(e, ERR_PEER, EPROTO, "a bulk stream has no cut");
		}
	return 0;
}

int memory_in_expect(struct memory_in *m, const char *dir, struct err *e)
{
	uint32_t *vpids;
	size_t n;
	int r = images_processes(dir, &vpids, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
		int kept;

		r = images_lazy_pages(dir, vpids[i], &lazy, e);
		kept = r == 0 ? keeper_expect(m->keeper, vpids[i], &lazy) : 0;
		if (kept < 0)
			r = keeper_error(kept, "pages that are to come", e);
	}
	free(vpids);
	if (r == 0 && (r = keeper_drop_others(m->keeper)) < 0)
		keeper_error(r, "pages of processes that have ended", e);
	return r;
}

int memory_in_open(struct memory_in *m, struct err *e)
{
	int r = keeper_give_way(m->keeper, true);

	if (r == 0)
		r = keeper_open(m->keeper);
	return r < 0 ? keeper_error(r, "opening the container's memory", e) : 0;
}

int memory_in_own(struct memory_in *m, struct err *e)
{
	int r = keeper_own(m->keeper);

	if (r == 0)
		r = keeper_give_way(m->keeper, false);
	m->hurried = true;
	for (unsigned i = 0; i < m->streams; i++)
		thread_priority_set(&m->bulk[i].priority, false);
	return r < 0 ? keeper_error(r, "handing the container to its keeper", e) : 0;
}

int memory_in_runs(struct memory_in *m, struct err *e)
{
	int r = keeper_runs(m->keeper);

	return r < 0 ? keeper_error(r, "telling the container's keeper", e) : 0;
}

struct pager_stats memory_in_stats(struct memory_in *m)
{
	struct pager_stats s = {0};

	if (m->keeper)
		keeper_stats(m->keeper, &s);
	return s;
}

static int stands_still(const struct pager_stats *s, unsigned streams, int ms, struct err *e)
{
	return err_set(e, ERR_LOCAL, ETIMEDOUT,
		"%llu of the container's pages are missing, and for %d s none has come (%llu have, on %u streams)",
		(unsigned long long)s->pending, ms / 1000, (unsigned long long)s->arrived, streams);
}

/* 0: something has come or been installed since @before. */
static int look_for_progress(struct memory_in *m, struct pager_stats *before, int ms, struct err *e)
{
	struct pager_stats now = memory_in_stats(m);
	bool moved = now.arrived != before->arrived || now.pending != before->pending;

	*before = now;
	return moved ? 0 : stands_still(&now, m->streams, ms, e);
}

int memory_in_wait_all(struct memory_in *m, int patience_ms, struct err *e)
{
	struct pager_stats before = memory_in_stats(m);
	int r = 0;

	while (r >= 0 && !keeper_done(m->keeper)) {
		uint64_t deadline = patience_ms < 0 ? DEADLINE_NEVER : deadline_in_ms((uint64_t)patience_ms);

		r = waiter_wait(m->waiter, keeper_event_fd(m->keeper), deadline, e);
		if (r == -ETIMEDOUT && !err_is_set(e))
			r = look_for_progress(m, &before, patience_ms, e);
		else if (r == 0)
			r = keeper_event(m->keeper, e);
	}
	return r < 0 ? r : 0;
}

static void unwatch(struct memory_in *m, const struct incoming *in)
{
	if (is_there(in))
		waiter_remove(m->waiter, transport_fd(in->channel.transport));
}

void memory_in_unwatch(struct memory_in *m)
{
	for (unsigned i = 0; i < SENDER_STREAMS_MAX; i++)
		unwatch(m, &m->bulk[i]);
	unwatch(m, &m->urgent);
}

static void end_incoming(struct memory_in *m, struct incoming *in, struct keeper_line *l)
{
	if (!is_there(in))
		return;
	unwatch(m, in);
	transport_cut(in->channel.transport);
	channel_done(&in->channel);
	keeper_renew(l);
}

void memory_in_part(struct memory_in *m)
{
	for (unsigned i = 0; i < SENDER_STREAMS_MAX; i++)
		end_incoming(m, &m->bulk[i], keeper_stream_line(m->keeper, i));
	end_incoming(m, &m->urgent, keeper_urgent_line(m->keeper));
	m->streams = 0;
}

int memory_in_ask_again(struct memory_in *m, struct err *e)
{
	int r = keeper_ask_again(m->keeper);

	return r < 0 ? keeper_error(r, "asking for pages again", e) : 0;
}

void memory_in_done(struct memory_in *m)
{
	if (m->keeper)
		memory_in_part(m);
	keeper_free(m->keeper);
	*m = MEMORY_IN_INIT;
}
