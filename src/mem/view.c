/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void view_done(struct view *v)
{
	struct map_entry *e;

	for (size_t i = 0; (e = map_next(&v->pending, &i));)
		free(e->value);
	map_done(&v->pending);
	free(v->extents);
	*v = VIEW_INIT;
}

static int reserve(struct view *v, size_t n)
{
	size_t cap = v->cap_extents ? v->cap_extents : 16;
	struct extent *bigger;

	if (n <= v->cap_extents)
		return 0;
	while (cap < n)
		cap *= 2;
	bigger = realloc(v->extents, cap * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	v->extents = bigger;
	v->cap_extents = cap;
	return 0;
}

/* Index of the first extent that ends after @addr. */
static size_t first_after(const struct view *v, uint64_t addr)
{
	size_t low = 0, high = v->n_extents;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (v->extents[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int insert(struct view *v, struct extent x)
{
	size_t at = first_after(v, x.start);
	int r = reserve(v, v->n_extents + 1);

	if (r < 0)
		return r;
	memmove(&v->extents[at + 1], &v->extents[at],
		(v->n_extents - at) * sizeof(v->extents[0]));
	v->extents[at] = x;
	v->n_extents++;
	return 0;
}

static struct page_bits *bits_of(struct view *v, uint64_t block)
{
	struct page_bits *b = map_get(&v->pending, block);

	if (b)
		return b;
	b = calloc(1, sizeof(*b));
	if (b && map_add(&v->pending, block, b) < 0) {
		free(b);
		b = NULL;
	}
	return b;
}

int view_add(struct view *v, uint64_t start, uint64_t end)
{
	for (uint64_t a = start; a < end; a += PAGE_BYTES) {
		struct page_bits *b = bits_of(v, block_of(a));

		if (!b)
			return -ENOMEM;
		page_bit_set(b, page_in_block(a));
		v->n_pending++;
	}
	return insert(v, (struct extent){start, end, start});
}

int view_copy(const struct view *v, struct view *ret)
{
	struct map_entry *e;
	int r = reserve(ret, v->n_extents);

	if (r < 0)
		return r;
	if (v->n_extents > 0)
		memcpy(ret->extents, v->extents, v->n_extents * sizeof(v->extents[0]));
	ret->n_extents = v->n_extents;
	ret->n_pending = v->n_pending;
	for (size_t i = 0; (e = map_next(&v->pending, &i));) {
		struct page_bits *b = bits_of(ret, e->key);

		if (!b)
			return -ENOMEM;
		*b = *(const struct page_bits *)e->value;
	}
	return 0;
}

static const struct extent *extent_at(const struct view *v, uint64_t addr)
{
	size_t i = first_after(v, addr);

	return i < v->n_extents && v->extents[i].start <= addr ? &v->extents[i] : NULL;
}

bool view_original(const struct view *v, uint64_t addr, uint64_t *ret)
{
	const struct extent *x = extent_at(v, addr);

	if (!x)
		return false;
	*ret = x->original + (addr - x->start);
	return true;
}

static bool holds(const struct extent *x, uint64_t original)
{
	return original >= x->original && original - x->original < x->end - x->start;
}

uint32_t view_current(const struct view *v, uint64_t original, uint32_t pages, uint64_t *ret)
{
	const struct extent *x = extent_at(v, original);
	uint64_t run;

	/* Nearly always it was never moved; else every extent is looked at. */
	if (!x || !holds(x, original)) {
		x = NULL;
		for (size_t i = 0; i < v->n_extents && !x; i++)
			if (holds(&v->extents[i], original))
				x = &v->extents[i];
	}
	if (!x)
		return 0;
	*ret = x->start + (original - x->original);
	run = BYTES_TO_PAGES(x->end - *ret);
	return run < pages ? (uint32_t)run : pages;
}

const struct page_bits *view_pending_bits(const struct view *v, uint64_t block)
{
	return map_get(&v->pending, block);
}

bool view_is_pending(const struct view *v, uint64_t original)
{
	const struct page_bits *b = view_pending_bits(v, block_of(original));

	return b && page_bit(b, page_in_block(original));
}

/* So many of @pages are in the block in which the first one is. */
static uint32_t in_one_block(uint64_t original, uint32_t pages)
{
	uint32_t rest = BLOCK_PAGES - page_in_block(original);

	return pages < rest ? pages : rest;
}

static uint32_t run_in_block(const struct page_bits *b, uint32_t first, uint32_t n)
{
	uint32_t run = 0;

	while (b && run < n && page_bit(b, first + run))
		run++;
	return run;
}

uint32_t view_pending_run(const struct view *v, uint64_t original, uint32_t pages)
{
	uint32_t run = 0, n, found;

	do {
		uint64_t at = original + PAGES_TO_BYTES(run);

		n = in_one_block(at, pages - run);
		found = run_in_block(view_pending_bits(v, block_of(at)), page_in_block(at), n);
		run += found;
	} while (found == n && run < pages);
	return run;
}

static uint32_t clear_in_block(struct page_bits *b, uint32_t first, uint32_t n)
{
	uint32_t cleared = 0;

	for (uint32_t i = first; b && i < first + n; i++)
		if (page_bit(b, i)) {
			page_bit_clear(b, i);
			cleared++;
		}
	return cleared;
}

void view_clear(struct view *v, uint64_t original, uint32_t pages)
{
	while (pages > 0) {
		uint32_t n = in_one_block(original, pages);

		v->n_pending -= clear_in_block(map_get(&v->pending, block_of(original)), page_in_block(original), n);
		original += PAGES_TO_BYTES(n);
		pages -= n;
	}
}

/* Takes [start, end) out of the extents; what is cut out is appended to @cut if that is given. */
static int cut_out(struct view *v, uint64_t start, uint64_t end, struct view *cut)
{
	size_t i = first_after(v, start);

	while (i < v->n_extents && v->extents[i].start < end) {
		struct extent old = v->extents[i], mid = old;
		int r = 0;

		if (mid.start < start) {
			mid.original += start - mid.start;
			mid.start = start;
		}
		if (mid.end > end)
			mid.end = end;
		memmove(&v->extents[i], &v->extents[i + 1],
			(v->n_extents - i - 1) * sizeof(v->extents[0]));
		v->n_extents--;
		if (old.start < mid.start)
			r = insert(v, (struct extent){old.start, mid.start, old.original});
		if (r == 0 && mid.end < old.end)
			r = insert(v, (struct extent){mid.end, old.end,
						    old.original + (mid.end - old.start)});
		if (r == 0 && cut)
			r = insert(cut, mid);
		if (r < 0)
			return r;
		if (!cut)
			view_clear(v, mid.original, (uint32_t)BYTES_TO_PAGES(mid.end - mid.start));
		i = first_after(v, start);
	}
	return 0;
}

int view_drop(struct view *v, uint64_t start, uint64_t end)
{
	return cut_out(v, start, end, NULL);
}

int view_move(struct view *v, uint64_t from, uint64_t to, uint64_t len)
{
	struct view cut = VIEW_INIT;
	int r = cut_out(v, from, from + len, &cut);

	/* What lay at the destination has been unmapped by mremap(2) itself. */
	if (r == 0)
		r = view_drop(v, to, to + len);
	for (size_t i = 0; i < cut.n_extents && r == 0; i++) {
		struct extent x = cut.extents[i];

		x.start = x.start - from + to;
		x.end = x.end - from + to;
		r = insert(v, x);
	}
	view_done(&cut);
	return r;
}
