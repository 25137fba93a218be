/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/memory_in.h"

#include "base/clock.h"
#include "criu/images.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>


static int on_receiver(void *ctx, struct err *e)
{
	struct memory_in *m = ctx;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < m->streams; i++) {
		eventfd_t v;

		if (!m->receivers[i])
			continue;
		eventfd_read(receiver_event_fd(m->receivers[i]), &v);
		r = receiver_result(m->receivers[i], e);
		if (receiver_is_cut(m->receivers[i]) && m->on_cut)
			m->on_cut(m->ctx);
	}
	return r;
}

static int on_asker(void *ctx, struct err *e)
{
	struct memory_in *m = ctx;

	return asker_result(m->asker, e);
}

/* Once everything is installed the keeper may go. */
static int on_keeper(void *ctx, struct err *e)
{
	struct memory_in *m = ctx;
	int r;

	if (keeper_done(m->keeper))
		return 1;
	r = keeper_event(m->keeper, e);
	return r < 0 ? r : 0;
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

static int add_bulk(struct memory_in *m, struct channel *c, unsigned i, struct err *e)
{
	int r = receiver_start(c, keeper_stream_line(m->keeper, i), &m->receivers[i], e);

	if (r < 0)
		return r;
	if (m->hurried)
		receiver_hurry(m->receivers[i]);
	return waiter_add(m->waiter, receiver_event_fd(m->receivers[i]), on_receiver, m);
}

int memory_in_add(struct memory_in *m, struct channel *c, const struct msg_hello *hello, struct err *e)
{
	int r;

	if (hello->channel == CHANNEL_BULK && hello->index < m->streams && !m->receivers[hello->index])
		return add_bulk(m, c, hello->index, e);
	if (hello->channel != CHANNEL_URGENT || m->asker) {
		channel_done(c);
		return err_set(e, ERR_PEER, EPROTO, "an unexpected further connection");
	}
	r = asker_start(c, m->keeper, &m->asker, e);
	return r < 0 ? r : waiter_add(m->waiter, asker_event_fd(m->asker), on_asker, m);
}

/* CRIU touches memory while it restores: by then nothing stale may be in the store. */
int memory_in_wait_cuts(struct memory_in *m, struct err *e)
{
	for (unsigned i = 0; i < m->streams; i++)
		while (!receiver_is_cut(m->receivers[i])) {
			int fd = receiver_event_fd(m->receivers[i]);
			int r = waiter_wait(m->waiter, fd, deadline_in_ms(CHANNEL_SILENCE_MS), e);

			if (r == -ETIMEDOUT && !err_is_set(e))
				return err_set(e, ERR_PEER, ETIMEDOUT, "a bulk stream has no cut");
			if (r == 0)
				r = on_receiver(m, e);
			if (r < 0)
				return r;
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
		receiver_hurry(m->receivers[i]);
	return r < 0 ? keeper_error(r, "handing the container to its keeper", e) : 0;
}

int memory_in_runs(struct memory_in *m, struct err *e)
{
	int r = keeper_runs(m->keeper);

	return r < 0 ? keeper_error(r, "telling the container's keeper", e) : 0;
}

int memory_in_wait_all(struct memory_in *m, struct err *e)
{
	while (!keeper_done(m->keeper)) {
		int r = waiter_wait(m->waiter, keeper_event_fd(m->keeper), DEADLINE_NEVER, e);

		if (r == 0)
			r = keeper_event(m->keeper, e);
		if (r < 0)
			return r;
	}
	return 0;
}

struct pager_stats memory_in_stats(struct memory_in *m)
{
	struct pager_stats s = {0};

	if (m->keeper)
		keeper_stats(m->keeper, &s);
	return s;
}

void memory_in_part(struct memory_in *m)
{
	for (unsigned i = 0; i < SENDER_STREAMS_MAX; i++) {
		if (!m->receivers[i])
			continue;
		waiter_remove(m->waiter, receiver_event_fd(m->receivers[i]));
		receiver_free(m->receivers[i]);
		m->receivers[i] = NULL;
		keeper_renew(keeper_stream_line(m->keeper, i));
	}
	if (m->asker) {
		waiter_remove(m->waiter, asker_event_fd(m->asker));
		asker_free(m->asker);
		m->asker = NULL;
		keeper_renew(keeper_urgent_line(m->keeper));
	}
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
