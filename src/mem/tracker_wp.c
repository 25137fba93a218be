/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker's backend write-protect: userfaultfd in asynchronous mode, and PAGEMAP_SCAN. */
#include "mem/tracker_backend.h"

#include "base/fd.h"
#include "base/file.h"
#include "kernel/inject.h"
#include "kernel/pagemap.h"
#include "kernel/uffd.h"

#include <errno.h>

#define JOIN_TRIES 4 /* each takes as long as reading a process's maps */

static int probe(void)
{
	_cleanup_close_ int uffd = inject_probe();

	return uffd < 0 ? uffd : uffd_enable_tracking(uffd);
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

static bool can_be_tracked(const struct region *g)
{
	return g->anonymous && !g->shared;
}

/* Up to @limit, where the next one begins: with what is free in between, or a region that has grown meanwhile
 * would be cut in two, and mremap(2) of both then be refused. Returns up to where in *@limit. */
static int begin_tracking(const struct seen *s, const struct region *g, uint64_t *limit)
{
	int r = uffd_register_tracking(s->uffd, g->start, *limit - g->start);

	if (r == 0 || r == -ESRCH)
		return r;
	*limit = g->end;
	return uffd_register_tracking(s->uffd, g->start, g->end - g->start);
}

/* A region that isn't registered: all of it counts as written, whatever marks its pages have, which
 * may have come along from elsewhere (mremap(2) before Linux 6.13), also to behind it. From now on it is
 * tracked. */
static int begin_region(struct seen *s, const struct region *g, uint64_t limit, struct ranges *ret)
{
	int r = begin_tracking(s, g, &limit);

	if (r == -ESRCH)
		return -ESTALE;
	if (r == 0)
		r = pagemap_written(s->process.pagemap, g->start, g->end, ret);
	else
		r = 0; /* it can't be: it is reported each time */
	if (r == -EPERM)
		return -ESTALE;
	return r < 0 ? r : pagemap_populated(s->process.pagemap, g->start, limit, ret);
}

/* Not up to [vsyscall], which is in the kernel's half. One that has grown while it was read may be there twice, and
 * then the next one begins before the end of this one. */
static uint64_t limit_of(const struct region *g, size_t i, size_t n)
{
	return i + 1 < n && g[1].start > g->end && g[1].start <= INT64_MAX ? g[1].start : g->end;
}

/* Their pages count as written like those of any region that was not registered at the last scan. */
static int scan_joined(struct seen *s, struct ranges *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->joined.n; i++)
		r = pagemap_populated(s->process.pagemap, s->joined.v[i].start, s->joined.v[i].end, ret);
	ranges_done(&s->joined);
	return r;
}

/* Would the kernel have made one of them if both or none were registered? */
static bool belong_together(const struct region *a, const struct region *b)
{
	return a->end == b->start && can_be_tracked(a) && can_be_tracked(b) && a->readable == b->readable &&
		a->writable == b->writable && a->executable == b->executable;
}

static bool is_apart(const struct region *v, size_t i, size_t n)
{
	return (i > 0 && belong_together(&v[i - 1], &v[i])) || (i + 1 < n && belong_together(&v[i], &v[i + 1]));
}

/* Registers what is not; @apart: only what is apart. What can't be stays as it is. Returns how many were. */
static int register_some(struct seen *s, const struct region *v, size_t n, bool apart)
{
	int done = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t limit = limit_of(&v[i], i, n);
		int r;

		if (!(apart ? is_apart(v, i, n) : can_be_tracked(&v[i])) ||
			pagemap_is_registered(s->process.pagemap, v[i].start))
			continue;
		/* First: once it is registered the next scan takes it for one that was. */
		r = ranges_add(&s->joined, v[i].start, limit);
		if (r < 0)
			return r;
		if (begin_tracking(s, &v[i], &limit) == 0)
			done++;
	}
	return done;
}

static int join_once(struct seen *s)
{
	_cleanup_free_ struct region *v = NULL;
	size_t n = 0;
	int r = maps_read(s->process.pid, &v, &n);

	return r < 0 ? r : register_some(s, v, n, true);
}

/* Registering what has changed since it was read may have cut a region in two. */
static int join(struct seen *s)
{
	int r = s->uffd < 0 ? 0 : 1;

	for (unsigned i = 0; r > 0 && i < JOIN_TRIES; i++)
		r = join_once(s);
	return r < 0 ? r : 0;
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
	uint64_t limit = limit_of(g, i, s->process.n_regions);
	int r = pagemap_written(s->process.pagemap, g->start, g->end, ret);

	return r == -EPERM ? begin_region(s, g, limit, ret) : r;
}

/* All of it, once; -ESTALE as above. What was reported before that stays reported: it is marked. While they run what
 * is new is registered before anything is scanned: the longer ago it was read, the more has changed since. */
static int scan_regions(struct seen *s, bool last, struct ranges *ret)
{
	const struct process *p = &s->process;
	int r = last ? 0 : register_some(s, p->regions, p->n_regions, false);

	for (size_t i = 0; r >= 0 && i < p->n_regions; i++)
		r = can_be_tracked(&p->regions[i]) ? scan_region(s, i, ret) : 0;
	return r < 0 ? r : 0;
}

static int scan(struct seen *s, bool last, struct tracked *ret)
{
	int r;

	if (process_has_direct_io(&s->process) || (s->uffd < 0 && attach(s, last) < 0))
		return tracked_all(s, ret);
	r = scan_regions(s, last, &ret->written);
	if (r == -ESTALE && attach(s, last) == 0)
		r = scan_regions(s, last, &ret->written);
	/* Once more: somebody else changes it all the time. */
	if (r == -ESTALE)
		return tracked_all(s, ret);
	if (r == 0)
		r = scan_joined(s, &ret->written);
	/* At once: what this scan has cut in two. One that can't be looked at any more has ended. */
	if (r == 0 && !last)
		join(s);
	return r;
}

const struct tracker_backend tracker_write_protect = {
	.name = "write-protect",
	.probe = probe,
	.scan = scan,
	.join = join,
};
