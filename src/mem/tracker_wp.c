/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker's backend write-protect: userfaultfd in asynchronous mode, and PAGEMAP_SCAN. */
#include "mem/tracker_backend.h"

#include "base/fd.h"
#include "kernel/inject.h"
#include "kernel/pagemap.h"
#include "kernel/uffd.h"

#include <errno.h>

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
static int scan_regions(struct seen *s, struct ranges *ret)
{
	for (size_t i = 0; i < s->process.n_regions; i++) {
		const struct region *g = &s->process.regions[i];
		int r = g->anonymous && !g->shared ? scan_region(s, i, ret) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int scan(struct seen *s, bool last, struct tracked *ret)
{
	int r;

	if (process_has_direct_io(&s->process) || (s->uffd < 0 && attach(s, last) < 0))
		return tracked_all(s, ret);
	r = scan_regions(s, &ret->written);
	if (r == -ESTALE && attach(s, last) == 0)
		r = scan_regions(s, &ret->written);
	/* Once more: somebody else changes it all the time. */
	return r == -ESTALE ? tracked_all(s, ret) : r;
}

const struct tracker_backend tracker_write_protect = {
	.name = "write-protect",
	.probe = probe,
	.scan = scan,
};
