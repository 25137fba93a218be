/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/copier.h"

#include "base/clock.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define STOP_MS 5000
#define JOIN_PAUSE 20 /* so many times as long as the processor was at it last */

int copier_init(struct copier *c, struct sender *s, struct tracker *tracker, const char *cgroup,
	struct err *e)
{
	c->sender = s;
	c->tracker = tracker;
	if (snprintf(c->cgroup, sizeof(c->cgroup), "%s", cgroup) >= (int)sizeof(c->cgroup))
		return err_sys(e, ENAMETOOLONG, "%s", cgroup);
	return 0;
}

void copier_done(struct copier *c)
{
	tracker_free(c->tracker);
	space_done(&c->space);
	for (size_t i = 0; i < c->n; i++) {
		ranges_done(&c->v[i].sent);
		ranges_done(&c->v[i].dirty);
		ranges_done(&c->v[i].skipped);
	}
	free(c->v);
	*c = COPIER_INIT;
}

static struct copied *copied_of(struct copier *c, uint32_t vpid)
{
	struct copied *bigger;

	for (size_t i = 0; i < c->n; i++)
		if (c->v[i].vpid == vpid)
			return &c->v[i];
	bigger = realloc(c->v, (c->n + 1) * sizeof(*bigger));
	if (!bigger)
		return NULL;
	c->v = bigger;
	c->v[c->n] = (struct copied){.vpid = vpid};
	return &c->v[c->n++];
}

static int note_written(struct copier *c, const struct tracker_scan *s)
{
	int r = 0;

	/* A process that isn't seen now has ended. */
	for (size_t i = 0; i < c->n; i++)
		c->v[i].process = NULL;
	for (size_t i = 0; r == 0 && i < s->n; i++) {
		struct copied *m = copied_of(c, s->v[i].process->vpid);

		if (!m)
			return -ENOMEM;
		m->process = s->v[i].process;
		r = ranges_unite(&m->dirty, &s->v[i].written);
	}
	return r;
}

static int scan(struct copier *c, const pid_t *pids, size_t n, bool last, struct err *e)
{
	struct tracker_scan s = TRACKER_SCAN_INIT;
	int r = tracker_scan(c->tracker, pids, n, last, &s, e);

	if (r == 0 && (r = note_written(c, &s)) < 0)
		err_sys(e, -r, "page ranges");
	tracker_scan_done(&s);
	return r;
}

static int scan_container(struct copier *c, struct err *e)
{
	pid_t *pids;
	size_t n;
	int r = cgroup_processes(c->cgroup, &pids, &n);

	if (r < 0)
		return err_sys(e, -r, "processes of %s", c->cgroup);
	r = scan(c, pids, n, false, e);
	free(pids);
	return r;
}

/* For a tracker that can't look while they run. */
static int scan_stopped(struct copier *c, struct err *e)
{
	uint64_t start = clock_now(), took;
	int r, thawed;

	if (cgroup_freeze_is_asked(c->cgroup))
		return cgroup_refuse_frozen(c->cgroup, e);
	r = cgroup_freeze(c->cgroup, deadline_in_ms(STOP_MS));
	r = r < 0 ? err_sys(e, -r, "stopping %s", c->cgroup) : scan_container(c, e);
	thawed = cgroup_thaw(c->cgroup);
	if (r == 0 && thawed < 0)
		r = err_sys(e, -thawed, "letting %s go on", c->cgroup);
	took = clock_now() - start;
	c->stopped_ns = took > c->stopped_ns ? took : c->stopped_ns;
	return r;
}

int copier_look(struct copier *c, uint64_t *ret_bytes, struct err *e)
{
	int r = tracker_needs_stop(c->tracker) ? scan_stopped(c, e) : scan_container(c, e);

	*ret_bytes = 0;
	for (size_t i = 0; i < c->n; i++)
		*ret_bytes += c->v[i].process ? ranges_bytes(&c->v[i].dirty) : 0;
	return r;
}

/* What was sent and then wasn't: the sender has taken it back. */
static int note_skipped(struct copier *c, struct copied *m)
{
	_cleanup_ranges_ struct ranges skipped = RANGES_INIT;
	int r;

	sender_take_skipped(c->sender, m->vpid, &skipped);
	r = ranges_remove(&m->sent, &skipped);
	return r < 0 ? r : ranges_unite(&m->skipped, &skipped);
}

int copier_send(struct copier *c, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < c->n; i++) {
		struct copied *m = &c->v[i];

		/* It has ended, or has no memory of its own for now: what it lacks stays to be sent. */
		if (!m->process)
			continue;
		r = note_skipped(c, m);
		if (r == 0)
			r = sender_push(c->sender, m->process, &m->dirty, true);
		if (r == 0)
			r = ranges_unite(&m->sent, &m->dirty);
		if (r < 0)
			return err_sys(e, -r, "memory of process %u", m->vpid);
		ranges_done(&m->dirty);
	}
	c->rounds++;
	/* What waits in sockets would be sent, and installed, within the freeze. */
	r = sender_mark(c->sender);
	return r < 0 ? err_sys(e, -r, "memory of the container") : 0;
}

void copier_join(struct copier *c)
{
	uint64_t used = clock_thread();

	if (!deadline_passed(c->join_at))
		return;
	tracker_join(c->tracker);
	c->join_at = clock_now() + JOIN_PAUSE * (clock_thread() - used);
}

/* What is sent of a process now: its private memory without execute permission (copier.h). */
static int choose(const struct copier *c, const struct process *p, struct copied *m)
{
	_cleanup_ranges_ struct ranges executable = RANGES_INIT;
	int r = c->tracker ? process_executable(p, &executable)
			   : process_populated(p, false, &m->dirty);

	return r < 0 ? r : ranges_remove(&m->dirty, &executable);
}

/* Takes back what was sent of a process and has been written since, @stale; but not what comes anew before
 * the cut. */
static int forget_stale(struct copier *c, struct copied *m, const struct ranges *stale, bool ahead)
{
	_cleanup_ranges_ struct ranges gone = RANGES_INIT;
	int r = ranges_difference(stale, ahead ? &m->dirty : &RANGES_INIT, &gone);

	if (r == 0 && gone.n > 0)
		r = sender_forget(c->sender, m->vpid, &gone);
	return r < 0 ? r : ranges_remove(&m->sent, stale);
}

/* @ahead: m->dirty is sent before the cut. */
static int look_back(struct copier *c, struct copied *m, bool ahead)
{
	_cleanup_ranges_ struct ranges stale = RANGES_INIT;
	const struct process *p = space_find(&c->space, m->vpid);
	int r = note_skipped(c, m);

	if (r == 0)
		r = ranges_intersection(&m->sent, &m->dirty, &stale);
	if (r == 0 && p)
		r = choose(c, p, m);
	else
		ranges_done(&m->dirty); /* it has ended */
	return r < 0 ? r : forget_stale(c, m, &stale, ahead);
}

/* Among it may be what was written before the freeze and unmapped since: skipped, and not lazy, so no one
 * will miss it. */
static int send_now(struct copier *c, struct copied *m)
{
	const struct process *p = space_find(&c->space, m->vpid);
	int r = p ? sender_push(c->sender, p, &m->dirty, true) : 0;

	if (r == 0)
		r = ranges_unite(&m->sent, &m->dirty);
	ranges_done(&m->dirty);
	return r;
}

static int send_all_now(struct copier *c)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++)
		r = send_now(c, &c->v[i]);
	return r;
}

static uint64_t all_dirty(const struct copier *c)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < c->n; i++)
		bytes += ranges_bytes(&c->v[i].dirty);
	return bytes;
}

static int send_frozen(struct copier *c)
{
	bool ahead = c->tracker && all_dirty(c) <= c->ahead_bytes;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->space.n; i++)
		r = copied_of(c, c->space.procs[i].vpid) ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < c->n; i++)
		r = look_back(c, &c->v[i], ahead);
	if (r == 0 && ahead)
		r = send_all_now(c);
	if (r == 0)
		r = sender_cut(c->sender);
	return r < 0 || ahead ? r : send_all_now(c);
}

static int freeze(struct copier *c, const pid_t *pids, size_t n, struct err *e)
{
	int r = c->tracker ? scan(c, pids, n, true, e) : 0;

	if (r == 0)
		r = space_open(&c->space, pids, n, e);
	if (r < 0)
		return r;
	r = send_frozen(c);
	return r < 0 ? err_sys(e, -r, "memory of the container") : 0;
}

int copier_freeze(struct copier *c, struct err *e)
{
	pid_t *pids;
	size_t n;
	int r = cgroup_processes(c->cgroup, &pids, &n);

	if (r < 0)
		return err_sys(e, -r, "processes of %s", c->cgroup);
	r = freeze(c, pids, n, e);
	free(pids);
	return r;
}

/* What could not be read while it ran is there after all: better an error now than after the commit. */
static int try_skipped(const struct process *p, const struct copied *m, const struct ranges *rest, struct err *e)
{
	_cleanup_ranges_ struct ranges again = RANGES_INIT;
	int r = ranges_intersection(rest, &m->skipped, &again);
	uint8_t page[PAGE_BYTES];

	if (r < 0)
		return err_sys(e, -r, "memory of process %u", m->vpid);
	for (size_t i = 0; i < again.n; i++)
		for (uint64_t at = again.v[i].start; at < again.v[i].end; at += PAGE_BYTES) {
			r = process_read(p, at, 1, page);
			if (r < 0)
				return err_sys(e, -r, "reading the page at 0x%llx of process %d",
					(unsigned long long)at, p->pid);
		}
	return 0;
}

int copier_rest(struct copier *c, uint32_t vpid, const struct ranges *lazy, struct err *e)
{
	_cleanup_ranges_ struct ranges rest = RANGES_INIT;
	struct process *p = space_find(&c->space, vpid);
	struct copied *m = copied_of(c, vpid);
	int r;

	if (!p)
		return err_set(e, ERR_LOCAL, ESRCH, "process %u of CRIU's images is not in %s", vpid,
			c->cgroup);
	r = m ? ranges_difference(lazy, &m->sent, &rest) : -ENOMEM;
	if (r == 0 && try_skipped(p, m, &rest, e) < 0)
		return -e->code;
	if (r == 0)
		r = sender_push(c->sender, p, &rest, false);
	/* What is being sent since the freeze may be skipped as well. */
	if (r == 0)
		r = sender_retry(c->sender, p, lazy);
	return r < 0 ? err_sys(e, -r, "memory of process %u", vpid) : 0;
}
