/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/tracker.h"

#include "base/fd.h"
#include "kernel/inject.h"
#include "kernel/pagemap.h"
#include "kernel/uffd.h"
#include "kernel/vfork.h"

#include <errno.h>
#include <stdlib.h>

/* A process that has been seen. */
struct seen {
	struct process process;
	int uffd; /* owned; -1: not attached */
};

struct tracker {
	struct seen **v; /* owned; each stays where it is */
	size_t n;
};

int tracker_new(struct tracker **ret, struct err *e)
{
	_cleanup_close_ int uffd = inject_probe();

	if (uffd < 0 || uffd_enable_tracking(uffd) < 0) {
		err_set(e, ERR_REFUSED, ENOSYS,
			"this kernel can not track memory without freezing (Linux 6.7 can)");
		return err_remedy(e, "use mode post or stop");
	}
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : err_sys(e, ENOMEM, "tracker");
}

static void seen_free(struct seen *s)
{
	fd_close(&s->uffd);
	process_done(&s->process);
	free(s);
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		seen_free(t->v[i]);
	free(t->v);
	free(t);
}

static struct seen *find(struct tracker *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i]->process.pid == pid)
			return t->v[i];
	return NULL;
}

static struct seen *add(struct tracker *t, pid_t pid)
{
	struct seen **bigger = realloc(t->v, (t->n + 1) * sizeof(*bigger));
	struct seen *s = calloc(1, sizeof(*s));

	if (bigger)
		t->v = bigger;
	if (!bigger || !s) {
		free(s);
		return NULL;
	}
	s->uffd = -1;
	s->process = PROCESS_INIT;
	s->process.pid = pid;
	t->v[t->n++] = s;
	return s;
}

static int attach(struct seen *s, bool last)
{
	int r;

	fd_close(&s->uffd);
	if (last)
		return -EBUSY;
	s->uffd = inject_userfaultfd(s->process.pid);
	if (s->uffd < 0) {
		r = s->uffd;
		s->uffd = -1;
		return r;
	}
	r = uffd_enable_tracking(s->uffd);
	if (r < 0)
		fd_close(&s->uffd);
	return r;
}

/* A region that isn't registered: all of it counts as written, whatever marks its pages have, which
 * may have come along from elsewhere (mremap(2) before Linux 6.13). From now on it is tracked. */
static int begin_region(struct seen *s, const struct region *g, uint64_t limit, struct ranges *ret)
{
	/* With what is free behind it: a region that has grown meanwhile would be cut in two, and
	 * mremap(2) of both then be refused. */
	int r = uffd_register_tracking(s->uffd, g->start, limit - g->start);

	if (r < 0 && r != -ESRCH)
		r = uffd_register_tracking(s->uffd, g->start, g->end - g->start);
	if (r == -ESRCH)
		return -ESTALE;
	if (r == 0)
		r = pagemap_written(s->process.pagemap, g->start, g->end, ret);
	else
		r = 0; /* it can't be: it is reported each time */
	if (r == -EPERM)
		return -ESTALE;
	return r < 0 ? r : pagemap_populated(s->process.pagemap, g->start, g->end, ret);
}

/*
 * What was written in one region, marked anew. -ESTALE: the descriptor is of another address space
 * than the process has now, since it has called exec(2).
 *
 * Only a page that this descriptor has marked, in a region that has been registered ever since, is
 * left out. A region that was replaced, moved or inherited isn't: the scan says -EPERM.
 */
static int scan_region(struct seen *s, size_t i, struct ranges *ret)
{
	const struct region *g = &s->process.regions[i];
	uint64_t limit = i + 1 < s->process.n_regions ? g[1].start : g->end;
	int r = pagemap_written(s->process.pagemap, g->start, g->end, ret);

	return r == -EPERM ? begin_region(s, g, limit, ret) : r;
}

/* All of it, once; -ESTALE as above. What was reported before that stays reported: it is marked. */
static int scan_regions(struct seen *s, bool track, struct ranges *ret)
{
	for (size_t i = 0; i < s->process.n_regions; i++) {
		const struct region *g = &s->process.regions[i];
		int r;

		if (!g->anonymous || g->shared)
			continue;
		if (track)
			r = scan_region(s, i, ret);
		else
			r = pagemap_populated(s->process.pagemap, g->start, g->end, ret);
		if (r < 0)
			return r;
	}
	return 0;
}

static int scan_process(struct seen *s, bool last, bool track, struct tracked *ret)
{
	track = track && !process_has_direct_io(&s->process) &&
		(s->uffd >= 0 || attach(s, last) == 0);
	int r = scan_regions(s, track, &ret->written);

	if (r == -ESTALE) {
		track = attach(s, last) == 0;
		r = scan_regions(s, track, &ret->written);
	}
	/* Twice: somebody else changes it all the time. */
	if (r == -ESTALE)
		r = scan_regions(s, track = false, &ret->written);
	ret->process = &s->process;
	ret->untracked = !track;
	return r;
}

static bool has_ended(int r)
{
	return r == -ESRCH || r == -ENOENT;
}

static bool is_among(pid_t pid, const pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* Those that aren't any more: their descriptors would add up. */
static void drop_others(struct tracker *t, const pid_t *pids, size_t n)
{
	for (size_t i = t->n; i-- > 0;)
		if (!is_among(t->v[i]->process.pid, pids, n)) {
			seen_free(t->v[i]);
			t->v[i] = t->v[--t->n];
		}
}

/* 0: left out. */
static int scan_pid(struct tracker *t, pid_t pid, bool last, struct tracked *ret)
{
	/* It would take the reports of its parent, which has the same pages. Asked before anything is
	 * opened: one that is by itself stays so. */
	bool borrowed = vfork_borrows(pid);
	struct seen *s;
	int r;

	if (borrowed && !last)
		return 0;
	s = find(t, pid);
	if (!s)
		s = add(t, pid);
	if (!s)
		return -ENOMEM;
	r = process_refresh(&s->process);
	if (r < 0 || s->process.n_regions == 0)
		return r;
	r = scan_process(s, last, !borrowed, ret);
	return r < 0 ? r : 1;
}

int tracker_scan(struct tracker *t, const pid_t *pids, size_t n, bool last, struct tracker_scan *ret,
	struct err *e)
{
	*ret = TRACKER_SCAN_INIT;
	ret->v = calloc(n ? n : 1, sizeof(*ret->v));
	if (!ret->v)
		return err_sys(e, ENOMEM, "tracker");
	drop_others(t, pids, n);
	for (size_t i = 0; i < n; i++) {
		struct tracked *one = &ret->v[ret->n];
		int r = scan_pid(t, pids[i], last, one);

		if (r == 1) {
			ret->pages += BYTES_TO_PAGES(ranges_bytes(&one->written));
			ret->n++;
			continue;
		}
		ranges_done(&one->written);
		if (r < 0 && !has_ended(r))
			return err_sys(e, -r, "tracking the memory of process %d", pids[i]);
	}
	return 0;
}

void tracker_scan_done(struct tracker_scan *s)
{
	for (size_t i = 0; s->v && i < s->n; i++)
		ranges_done(&s->v[i].written);
	free(s->v);
	*s = TRACKER_SCAN_INIT;
}
