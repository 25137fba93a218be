/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/map.h"
#include "mem/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What one restored address space still lacks, and where it is.
 *
 * Pages are named by their address on the source ("original"); extents say where each lies now.
 * At first the two are the same; mremap(2) moves them apart, munmap(2) and MADV_DONTNEED end
 * them. No I/O here: the kernel's events come in as calls.
 */

struct extent {
	uint64_t start, end; /* now */
	uint64_t original;   /* address of start on the source */
};

struct view {
	struct extent *extents; /* owned, ascending by start */
	size_t n_extents, cap_extents;
	struct map pending; /* block number of the original address -> struct page_bits, owned */
	uint64_t n_pending;
};

#define VIEW_INIT ((struct view){0})

void view_done(struct view *v);

/* Adds lazy pages where they were on the source; ascending and before anything else. */
int view_add(struct view *v, uint64_t start, uint64_t end);

/* ret (VIEW_INIT) becomes what a child of fork(2) lacks: the same. */
int view_copy(const struct view *v, struct view *ret);

/* Where the page at @addr was on the source; false when it isn't of this image. */
bool view_original(const struct view *v, uint64_t addr, uint64_t *ret);

/* Where the original page @original is now, and how many of @pages from there on follow it
 * without a break. 0 when it is gone. */
uint32_t view_current(const struct view *v, uint64_t original, uint32_t pages, uint64_t *ret);

bool view_is_pending(const struct view *v, uint64_t original);
/* How many of @pages from @original on are, without a break. */
uint32_t view_pending_run(const struct view *v, uint64_t original, uint32_t pages);
/* The pending bits of the block with that number, or NULL. */
const struct page_bits *view_pending_bits(const struct view *v, uint64_t block);
void view_clear(struct view *v, uint64_t original, uint32_t pages);

/* The address range is unmapped or was discarded: nothing there is lacking any more. */
int view_drop(struct view *v, uint64_t start, uint64_t end);

/* mremap(2) moved [from, from + len) to @to. */
int view_move(struct view *v, uint64_t from, uint64_t to, uint64_t len);
