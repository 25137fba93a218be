/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/large.h"

#include "base/fd.h"
#include "base/file.h"
#include "base/warm.h"
#include "criu/images.h"
#include "criu/view.h"
#include "criu/workplace.h"
#include "kernel/pagemap.h"
#include "kernel/status.h"
#include "mem/space.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below that CRIU is as fast by itself. */
#define PROCESS_MIN (4ull << 20)
/* Up to that it takes no time to read the regions once more in the freeze. */
#define QUICK_MAX (64ull << 20)
#define REGION_MIN (128ull << 10) /* from there on malloc(3) has a region for each allocation */
#define WARM_MAX (512ull << 20)
#define LOCKED "\nVmLck:"
#define MAPS_MAX (64u << 20)

static void process_forget(struct large_process *p)
{
	smaps_done(&p->smaps);
	ranges_done(&p->spared);
	ranges_done(&p->pages);
}

void large_done(struct large *l)
{
	large_was_advised(l);
	if (l->uncounting)
		pthread_join(l->counter, NULL);
	for (size_t i = 0; i < l->n; i++)
		process_forget(&l->v[i]);
	free(l->v);
	advice_count_done(&l->count);
	*l = LARGE_INIT;
}

/* CRIU makes room for 16 bytes a page of private memory, and copies it (its page-pipe). */
static void warm(const struct smaps *s, const struct ranges *spared)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < s->n; i++)
		bytes += s->regions[i].shared ? 0 : s->regions[i].end - s->regions[i].start;
	bytes = BYTES_TO_PAGES(bytes - ranges_bytes(spared)) * 16;
	memory_warm(bytes < WARM_MAX ? bytes : WARM_MAX);
}

static uint64_t size_of(const char *status)
{
	return status_bytes(status, "\nVmRSS:") + status_bytes(status, "\nVmSwap:");
}

/* Before any flag is read. Where it can't be counted they are read twice. */
static void begin_count(struct large *l, const char *cgroup)
{
	if (!l->counting)
		advice_count_start(&l->count, cgroup, WORKPLACE_TRACING);
	l->counting = true;
}

/* Of regions with guard pages CRIU is to see all, since it looks for these. Only newer kernels (6.19) have a flag by
 * which smaps_plain() knows them. */
static int find_guarded(const struct large_process *p, struct ranges *ret)
{
	_cleanup_close_ int pagemap = pagemap_open(p->pid);
	int r = pagemap < 0 ? pagemap : 0;

	for (size_t i = 0; r >= 0 && i < p->smaps.n; i++) {
		const struct region *g = &p->smaps.regions[i];

		if (!ranges_contain(&p->spared, g->start, g->end))
			continue;
		r = pagemap_has_guard(pagemap, g->start, g->end);
		if (r > 0)
			r = ranges_add(ret, g->start, g->end);
	}
	return r < 0 ? r : 0;
}

static int spare(struct large_process *p)
{
	_cleanup_ranges_ struct ranges guarded = RANGES_INIT;
	int r = smaps_plain(&p->smaps, REGION_MIN, &p->spared);

	if (r == 0)
		r = find_guarded(p, &guarded);
	return r < 0 ? r : ranges_remove(&p->spared, &guarded);
}

/* 1 when there is something to spare. */
static int read_regions(struct large_process *p)
{
	int r = smaps_read(p->pid, &p->smaps);

	if (r == 0)
		r = spare(p);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	return p->spared.n > 0;
}

static int look(struct large *l, struct large_process *p, pid_t pid, const char *cgroup)
{
	_cleanup_free_ char *status = NULL;
	int r;

	*p = (struct large_process){.pid = pid};
	if (status_read(pid, &status) < 0 || (p->size = size_of(status)) < PROCESS_MIN)
		return 0;
	begin_count(l, cgroup);
	p->locked = status_bytes(status, LOCKED);
	r = read_regions(p);
	if (r > 0)
		warm(&p->smaps, &p->spared);
	return r;
}

/* The process is frozen, and CRIU would read the same. */
static int look_again(struct large_process *p)
{
	pid_t pid = p->pid;

	process_forget(p);
	*p = (struct large_process){.pid = pid, .is_current = true};
	return read_regions(p);
}

int large_look(struct large *l, const char *cgroup, struct err *e)
{
	pid_t *pids;
	size_t n;
	int r = cgroup_processes(cgroup, &pids, &n);

	if (r < 0)
		return err_sys(e, -r, "processes of %s", cgroup);
	l->v = calloc(n + 1, sizeof(*l->v));
	if (!l->v)
		r = -ENOMEM;
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = look(l, &l->v[l->n], pids[i], cgroup);
		if (r > 0)
			l->n++;
		else
			process_forget(&l->v[l->n]);
	}
	free(pids);
	return r < 0 ? err_sys(e, -r, "regions of large processes") : 0;
}

/* Are the regions of the frozen process those that were read? */
static bool is_unchanged(const struct large_process *p)
{
	_cleanup_free_ char *maps = NULL, *status = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", p->pid);
	return file_read(path, MAPS_MAX, &maps, NULL) == 0 && strcmp(maps, p->smaps.maps) == 0 &&
		status_read(p->pid, &status) == 0 && status_bytes(status, LOCKED) == p->locked;
}

/* 32-bit code isn't counted. */
static bool is_counted(const struct large_process *p)
{
	return p->smaps.n > 0 && p->smaps.regions[p->smaps.n - 1].end > UINT32_MAX;
}

static bool nobody_has_advised(const struct large *l)
{
	uint64_t calls;

	if (advice_count_read(&l->count, &calls) < 0 || calls > 0)
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (!is_counted(&l->v[i]))
			return false;
	return true;
}

static void *stop_counting(void *arg)
{
	advice_count_done(arg);
	return NULL;
}

/* Every system call on this host takes a little longer as long as it is counted, and the end of that takes longer
 * than the freeze may. */
static void finish_count(struct large *l)
{
	if (!l->counting)
		return;
	l->quiet = nobody_has_advised(l);
	l->uncounting = pthread_create(&l->counter, NULL, stop_counting, &l->count) == 0;
}

/* 1 when CRIU's view of it is narrowed. */
static int narrow(const struct large *l, struct large_process *p, struct err *e)
{
	bool keeps = (l->quiet || p->size > QUICK_MAX) && is_unchanged(p);
	int r = keeps ? 1 : look_again(p);

	if (r < 0)
		return err_sys(e, -r, "regions of process %d", p->pid);
	if (r == 0)
		return 0;
	smaps_shorten(&p->smaps, &p->spared);
	r = view_narrow(p->pid, &p->spared, p->smaps.text, e);
	return r < 0 ? r : 1;
}

int large_narrow(struct large *l, struct err *e)
{
	finish_count(l);
	for (size_t i = l->n; i-- > 0;) {
		int r = narrow(l, &l->v[i], e);

		if (r < 0)
			return r;
		if (r > 0)
			continue;
		process_forget(&l->v[i]);
		l->v[i] = l->v[--l->n];
	}
	return 0;
}

static int list_pages(struct large_process *p)
{
	_cleanup_close_ int pagemap = pagemap_open(p->pid);
	int r = pagemap < 0 ? pagemap : process_vpid(p->pid, &p->vpid);

	for (size_t i = 0; r == 0 && i < p->spared.n; i++)
		r = pagemap_populated(pagemap, p->spared.v[i].start, p->spared.v[i].end, &p->pages);
	return r;
}

int large_list(struct large *l, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		int r = list_pages(&l->v[i]);

		if (r < 0)
			return err_sys(e, -r, "listing the pages of process %d", l->v[i].pid);
	}
	return 0;
}

static int lengthen(const struct large_process *p, const char *images, struct err *e)
{
	_cleanup_free_ struct range *v = calloc(p->smaps.n + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return err_sys(e, ENOMEM, "regions of process %d", p->pid);
	for (size_t i = 0; i < p->smaps.n; i++) {
		const struct region *g = &p->smaps.regions[i];

		if (ranges_contain(&p->spared, g->start, g->end))
			v[n++] = (struct range){g->start, g->end};
	}
	return images_lengthen(images, p->vpid, v, n, e);
}

int large_add(const struct large *l, const char *images, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->n; i++) {
		r = images_add_lazy(images, l->v[i].vpid, &l->v[i].pages, e);
		if (r == 0)
			r = lengthen(&l->v[i], images, e);
	}
	return r;
}

static bool is_as_it_was(const struct large_process *p)
{
	_cleanup_smaps_ struct smaps now = SMAPS_INIT;
	_cleanup_ranges_ struct ranges guarded = RANGES_INIT;

	return p->is_current ||
		(smaps_read(p->pid, &now) == 0 && smaps_agree(&p->smaps, &now) &&
			find_guarded(p, &guarded) == 0 && guarded.n == 0);
}

static void *verify(void *arg)
{
	struct large *l = arg;

	for (size_t i = 0; i < l->n && !l->advised; i++)
		l->advised = !is_as_it_was(&l->v[i]);
	return NULL;
}

int large_verify(struct large *l, struct err *e)
{
	int r;

	if (l->n == 0 || l->quiet)
		return 0;
	r = pthread_create(&l->verifier, NULL, verify, l);
	l->verifying = r == 0;
	return r > 0 ? err_sys(e, r, "thread") : 0;
}

bool large_was_advised(struct large *l)
{
	if (l->verifying)
		pthread_join(l->verifier, NULL);
	l->verifying = false;
	return l->advised;
}
