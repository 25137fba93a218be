/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tracker's backend soft-dirty: bit 55 of /proc/PID/pagemap, and clear_refs
 * (Documentation/admin-guide/mm/soft-dirty.rst).
 *
 * The bit alone has holes: mremap(2) moves whole page tables without setting it, and a discarded
 * page that is only read again becomes the zero page without it. Therefore it is remembered where
 * each page's contents were at the last mark. Contents that are in the same place, and whose bit is
 * clear, are the same contents.
 */
#include "mem/tracker_backend.h"

#include "base/fd.h"
#include "base/file.h"
#include "kernel/pagemap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES_FIRST 4096

static int add_frame(struct frames *f, uint64_t addr, uint64_t place)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : FRAMES_FIRST;
		struct frame *bigger = realloc(f->v, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		f->v = bigger;
		f->cap = cap;
	}
	f->v[f->n++] = (struct frame){addr, place};
	return 0;
}

struct walk {
	const struct frames *before;
	size_t next; /* of those, the first that may still come: both ascend */
	struct frames now;
	struct ranges *written;
};

static bool is_in_place(struct walk *w, uint64_t addr, uint64_t place)
{
	while (w->next < w->before->n && w->before->v[w->next].addr < addr)
		w->next++;
	return w->next < w->before->n && w->before->v[w->next].addr == addr &&
		w->before->v[w->next].place == place;
}

static int on_page(void *ctx, uint64_t addr, uint64_t entry)
{
	struct walk *w = ctx;
	uint64_t place = pagemap_place(entry);
	int r = add_frame(&w->now, addr, place);

	if (r == 0 && (pagemap_is_soft_dirty(entry) || !is_in_place(w, addr, place)))
		r = ranges_add(w->written, addr, addr + PAGE_BYTES);
	return r;
}

static int mark(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
	return file_poke(path, "4");
}

static int scan(struct seen *s, bool last, struct tracked *ret)
{
	struct walk w = {.before = &s->frames, .written = &ret->written};
	int r = 0;

	if (process_has_direct_io(&s->process))
		return tracked_all(s, ret);
	for (size_t i = 0; r == 0 && i < s->process.n_regions; i++) {
		const struct region *g = &s->process.regions[i];

		if (g->anonymous && !g->shared)
			r = pagemap_each(s->process.pagemap, g->start, g->end, on_page, &w);
	}
	free(s->frames.v);
	s->frames = w.now;
	return r == 0 && !last ? mark(s->process.pid) : r;
}

static int on_own_page(void *ctx, uint64_t addr, uint64_t entry)
{
	(void)addr;
	*(uint64_t *)ctx = entry;
	return 0;
}

static uint64_t read_entry(int pagemap, const void *page)
{
	uint64_t entry = 0, addr = (uintptr_t)page;

	return pagemap_each(pagemap, addr, addr + PAGE_BYTES, on_own_page, &entry) < 0 ? 0 : entry;
}

/* The bit comes and goes, and we may see where pages are (CAP_SYS_ADMIN). */
static int try_page(int pagemap, volatile uint8_t *page)
{
	uint64_t entry;
	int r;

	*page = 1;
	if (!pagemap_is_soft_dirty(read_entry(pagemap, (void *)page)))
		return -ENOSYS;
	r = mark(getpid());
	if (r < 0)
		return r;
	entry = read_entry(pagemap, (void *)page);
	if (pagemap_is_soft_dirty(entry) || !pagemap_tells_place(entry))
		return -ENOSYS;
	*page = 2;
	return pagemap_is_soft_dirty(read_entry(pagemap, (void *)page)) ? 0 : -ENOSYS;
}

static int probe(void)
{
	_cleanup_close_ int pagemap = pagemap_open(getpid());
	void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (page == MAP_FAILED)
		return -ENOMEM;
	r = pagemap < 0 ? pagemap : try_page(pagemap, page);
	munmap(page, PAGE_BYTES);
	return r;
}

const struct tracker_backend tracker_soft_dirty = {
	.name = "soft-dirty",
	.needs_stop = true,
	.probe = probe,
	.scan = scan,
};
