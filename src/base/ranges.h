/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Pages, and sorted sets of address ranges. godwit speaks of 4 KiB pages throughout: the unit of
 * CRIU's images and of the wire on the architectures that it runs on.
 */

#define PAGE_SHIFT 12
#define PAGE_BYTES (1ull << PAGE_SHIFT)
#define PAGES_TO_BYTES(n) ((uint64_t)(n) << PAGE_SHIFT)
#define BYTES_TO_PAGES(n) ((uint64_t)(n) >> PAGE_SHIFT)

static inline uint64_t page_floor(uint64_t addr)
{
	return addr & ~(PAGE_BYTES - 1);
}

struct range {
	uint64_t start, end; /* [start, end), bytes */
};

/* A set of bytes as sorted ranges that neither overlap nor touch. */
struct ranges {
	struct range *v; /* owned */
	size_t n, cap;
};

#define RANGES_INIT ((struct ranges){0})

void ranges_done(struct ranges *r);
#define _cleanup_ranges_ __attribute__((cleanup(ranges_done)))

/* Unites with [start, end); appending in ascending order is O(1). -EINVAL for start >= end. */
int ranges_add(struct ranges *r, uint64_t start, uint64_t end);

/* Removes [start, end) from the set. */
int ranges_subtract(struct ranges *r, uint64_t start, uint64_t end);

/* ret = a without b; ret must be empty and not alias either. */
int ranges_difference(const struct ranges *a, const struct ranges *b, struct ranges *ret);

/* into = into and other; into = into without other. */
int ranges_unite(struct ranges *into, const struct ranges *other);
int ranges_remove(struct ranges *from, const struct ranges *other);

/* ret = what is in both; ret must be empty and not alias either. */
int ranges_intersection(const struct ranges *a, const struct ranges *b, struct ranges *ret);

/* The range that contains @addr, or NULL. */
const struct range *ranges_find(const struct ranges *r, uint64_t addr);

bool ranges_contain(const struct ranges *r, uint64_t start, uint64_t end);

uint64_t ranges_bytes(const struct ranges *r);
