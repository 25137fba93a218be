/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/store.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SPARSE 16 /* so many times as much is there room for as may be kept */

static int map_slots(struct store *s, size_t n)
{
	void *base;

	if (ftruncate(s->memfd, (off_t)(n << BLOCK_SHIFT)) < 0)
		return -errno;
	base = mmap(NULL, n << BLOCK_SHIFT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->memfd, 0);
	if (base == MAP_FAILED)
		return -errno;
	s->base = base;
	s->max_slots = n;
	/* Nobody whom its process forks has any business there. */
	madvise(base, n << BLOCK_SHIFT, MADV_DONTFORK);
	/* For one page of a sparse block a huge one would take what nobody counts. */
	madvise(base, n << BLOCK_SHIFT, MADV_NOHUGEPAGE);
	return 0;
}

int store_init(struct store *s, uint64_t max_bytes)
{
	size_t blocks = max_bytes > BLOCK_BYTES ? (max_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT : 1;
	int r;

	*s = (struct store){.memfd = -1, .max_bytes = blocks << BLOCK_SHIFT};
	s->memfd = memfd_create("godwit-store", MFD_CLOEXEC);
	r = s->memfd < 0 ? -errno : -ENOMEM;
	/* A machine may have more memory than this part of a processor's addresses. */
	for (size_t times = SPARSE; s->memfd >= 0 && r < 0 && times > 0; times /= 2)
		r = map_slots(s, times * blocks);
	if (r == 0) {
		s->free = calloc(s->max_slots, sizeof(*s->free));
		r = s->free ? 0 : -ENOMEM;
	}
	if (r < 0)
		store_done(s);
	return r;
}

void store_done(struct store *s)
{
	if (s->base)
		munmap(s->base, s->max_slots << BLOCK_SHIFT);
	fd_close(&s->memfd);
	free(s->free);
	*s = (struct store){.memfd = -1};
}

static int take_slot(struct store *s, struct block *b)
{
	size_t slot;

	if (s->n_free > 0)
		slot = s->free[--s->n_free];
	else if (s->n_slots < s->max_slots)
		slot = s->n_slots++;
	else
		return -ENOSPC;
	b->mem = s->base + (slot << BLOCK_SHIFT);
	return 0;
}

static int count_page(struct store *s, struct block *b, uint32_t i)
{
	int r = 0;

	if (s->used >= s->max_bytes)
		return -ENOSPC;
	if (!b->mem)
		r = take_slot(s, b);
	if (r < 0)
		return r;
	page_bit_set(&b->kept, i);
	s->used += PAGE_BYTES;
	if (s->used > s->peak)
		s->peak = s->used;
	return 0;
}

int store_keep(struct store *s, struct block *b, uint32_t i, const void *page)
{
	int r = page_bit(&b->kept, i) ? 0 : count_page(s, b, i);

	if (r < 0)
		return r;
	memcpy(b->mem + PAGES_TO_BYTES(i), page, PAGE_BYTES);
	page_bit_set(&b->have, i);
	return 0;
}

void store_give_back(struct store *s, struct block *b)
{
	uint64_t offset;

	if (!b->mem)
		return;
	offset = (uint64_t)(b->mem - s->base);
	fallocate(s->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		(off_t)BLOCK_BYTES);
	s->free[s->n_free++] = (uint32_t)(offset >> BLOCK_SHIFT);
	for (size_t k = 0; k < BLOCK_WORDS; k++)
		s->used -= PAGES_TO_BYTES(__builtin_popcountll(b->kept.w[k]));
	b->mem = NULL;
	memset(&b->kept, 0, sizeof(b->kept));
	memset(&b->have, 0, sizeof(b->have));
}
