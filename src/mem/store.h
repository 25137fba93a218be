/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/map.h"
#include "base/ranges.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The target's page store: pages that have arrived and wait to be installed, by process and
 * address, in blocks of 2 MiB of one memfd, so that another process can be given all of it.
 * A block's memory goes back to the system as soon as nothing in it is needed any more.
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
	struct page_bits have;	/* contents are in mem */
	struct page_bits zero;	/* known to be zero */
	struct page_bits asked; /* asked for on the urgent channel */
	struct page_bits hot;	/* came more than once: written while it was copied */
};

struct store {
	int memfd;     /* owned */
	uint8_t *base; /* the memfd mapped whole */
	size_t n_slots, max_slots;
	uint32_t *free; /* stack of slots given back */
	size_t n_free;
	uint64_t used, peak; /* bytes */
};

/* Room for at most @max_bytes (rounded up to blocks). 0 or -errno. */
int store_init(struct store *s, uint64_t max_bytes);
void store_done(struct store *s);

/* Gives @b memory if it has none. -ENOSPC when the limit is reached. */
int store_take(struct store *s, struct block *b);

/* Gives a block's memory back to the system; it then has no contents. */
void store_give_back(struct store *s, struct block *b);
