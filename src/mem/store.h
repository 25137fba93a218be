/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/map.h"
#include "base/ranges.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The target's page store: pages that have arrived and wait to be installed, by process and
 * address, in blocks of 2 MiB of one memfd. A block may have one page alone, so there are addresses for
 * more than may be kept; what is counted, and limited, is pages. A block's memory goes back to the system
 * as soon as nothing in it is needed any more.
 *
 * Not locked: its user does that.
 */

#define BLOCK_SHIFT 21
#define BLOCK_BYTES (1ull << BLOCK_SHIFT)
#define BLOCK_PAGES (BLOCK_BYTES / PAGE_BYTES)
#define BLOCK_WORDS (BLOCK_PAGES / 64)

/* One bit a page. */
struct page_bits {
	uint64_t w[BLOCK_WORDS];
};

static inline bool page_bit(const struct page_bits *b, uint32_t i)
{
	return b->w[i / 64] >> (i % 64) & 1;
}

static inline void page_bit_set(struct page_bits *b, uint32_t i)
{
	b->w[i / 64] |= 1ull << (i % 64);
}

static inline void page_bit_clear(struct page_bits *b, uint32_t i)
{
	b->w[i / 64] &= ~(1ull << (i % 64));
}

static inline uint64_t block_of(uint64_t addr)
{
	return addr >> BLOCK_SHIFT;
}

static inline uint32_t page_in_block(uint64_t addr)
{
	return (uint32_t)(addr % BLOCK_BYTES >> PAGE_SHIFT);
}

/* Pages of one process in one 2 MiB of its addresses, as they were on the source. */
struct block {
	uint64_t number;
	struct block *newer, *older; /* in the order of their last arrivals */
	uint8_t *mem;		/* NULL: no page with contents here */
	struct page_bits kept;	/* mem has a page of the system's there */
	struct page_bits have;	/* and its contents hold */
	struct page_bits zero;	/* known to be zero */
	struct page_bits asked; /* asked for on the urgent channel */
	struct page_bits hot;	/* came more than once: written while it was copied */
};

struct store {
	int memfd;     /* owned */
	uint8_t *base; /* the memfd mapped whole, or NULL */
	size_t n_slots, max_slots;
	uint32_t *free; /* stack of slots given back */
	size_t n_free;
	uint64_t max_bytes, used, peak; /* of pages that are kept */
};

/* Room for at most @max_bytes (rounded up to blocks) of pages. 0 or -errno. */
int store_init(struct store *s, uint64_t max_bytes);
void store_done(struct store *s);

/* Keeps the contents of page @i of @b, in place of what was kept there. -ENOSPC when the limit is reached. */
int store_keep(struct store *s, struct block *b, uint32_t i, const void *page);

/* Gives a block's memory back to the system; it then has no contents. */
void store_give_back(struct store *s, struct block *b);
