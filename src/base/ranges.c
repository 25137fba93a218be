/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ranges_done(struct ranges *r)
{
	free(r->v);
	*r = RANGES_INIT;
}

/* Index of the first range whose end is >= @addr, r->n when there is none. */
static size_t first_reaching(const struct ranges *r, uint64_t addr)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->v[mid].end < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Replaces @old entries at @at by @new ones; the caller fills them. */
static int splice(struct ranges *r, size_t at, size_t old, size_t new)
{
	size_t n = r->n - old + new;

	if (n > r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct range *v;

		v = realloc(r->v, cap * sizeof(*v));
		if (!v)
			return -ENOMEM;
		r->v = v;
		r->cap = cap;
	}
	if (old != new && r->n > at + old)
		memmove(&r->v[at + new], &r->v[at + old], (r->n - at - old) * sizeof(*r->v));
	r->n = n;
	return 0;
}

int ranges_add(struct ranges *r, uint64_t start, uint64_t end)
{
	size_t at, n = 0;
	int e;

	if (start >= end)
		return -EINVAL;
	if (r->n > 0 && r->v[r->n - 1].end < start)
		at = r->n;
	else
		at = first_reaching(r, start);
	while (at + n < r->n && r->v[at + n].start <= end)
		n++;
	if (n > 0) {
		if (r->v[at].start < start)
			start = r->v[at].start;
		if (r->v[at + n - 1].end > end)
			end = r->v[at + n - 1].end;
	}
	e = splice(r, at, n, 1);
	if (e < 0)
		return e;
	r->v[at] = (struct range){start, end};
	return 0;
}

int ranges_subtract(struct ranges *r, uint64_t start, uint64_t end)
{
	size_t at = first_reaching(r, start), n = 0, keep = 0;
	struct range kept[2];
	int e;

	if (start >= end)
		return -EINVAL;
	while (at + n < r->n && r->v[at + n].start < end) {
		struct range old = r->v[at + n++];

		if (old.start < start)
			kept[keep++] = (struct range){old.start, old.end < start ? old.end : start};
		if (old.end > end)
			kept[keep++] = (struct range){end, old.end};
	}
	if (n == 0)
		return 0;
	e = splice(r, at, n, keep);
	if (e < 0)
		return e;
	memcpy(&r->v[at], kept, keep * sizeof(kept[0]));
	return 0;
}

int ranges_difference(const struct ranges *a, const struct ranges *b, struct ranges *ret)
{
	size_t j = 0;

	for (size_t i = 0; i < a->n; i++) {
		uint64_t from = a->v[i].start, end = a->v[i].end;
		int e = 0;

		while (j < b->n && b->v[j].end <= from)
			j++;
		for (size_t k = j; k < b->n && b->v[k].start < end && e == 0; k++) {
			if (b->v[k].start > from)
				e = ranges_add(ret, from, b->v[k].start);
			if (b->v[k].end > from)
				from = b->v[k].end;
		}
		if (e == 0 && from < end)
			e = ranges_add(ret, from, end);
		if (e < 0)
			return e;
	}
	return 0;
}

int ranges_unite(struct ranges *into, const struct ranges *other)
{
	int e = 0;

	for (size_t i = 0; e == 0 && i < other->n; i++)
		e = ranges_add(into, other->v[i].start, other->v[i].end);
	return e;
}

int ranges_remove(struct ranges *from, const struct ranges *other)
{
	struct ranges rest = RANGES_INIT;
	int e = ranges_difference(from, other, &rest);

	if (e < 0) {
		ranges_done(&rest);
		return e;
	}
	ranges_done(from);
	*from = rest;
	return 0;
}

int ranges_intersection(const struct ranges *a, const struct ranges *b, struct ranges *ret)
{
	_cleanup_ranges_ struct ranges outside = RANGES_INIT;
	int e = ranges_difference(a, b, &outside);

	return e < 0 ? e : ranges_difference(a, &outside, ret);
}

const struct range *ranges_find(const struct ranges *r, uint64_t addr)
{
	size_t at = first_reaching(r, addr + 1);

	return at < r->n && r->v[at].start <= addr ? &r->v[at] : NULL;
}

bool ranges_contain(const struct ranges *r, uint64_t start, uint64_t end)
{
	const struct range *f = ranges_find(r, start);

	return f && f->end >= end;
}

uint64_t ranges_bytes(const struct ranges *r)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->n; i++)
		sum += r->v[i].end - r->v[i].start;
	return sum;
}
