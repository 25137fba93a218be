/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/store.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int store_init(struct store *s, uint64_t max_bytes)
{
	void *base;
	int r;

	*s = (struct store){.memfd = -1};
	s->max_slots = (max_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
	if (s->max_slots == 0)
		s->max_slots = 1;
	s->free = calloc(s->max_slots, sizeof(*s->free));
	s->memfd = memfd_create("godwit-store", MFD_CLOEXEC);
	if (!s->free || s->memfd < 0 ||
		ftruncate(s->memfd, (off_t)(s->max_slots << BLOCK_SHIFT)) < 0) {
		r = s->free ? -errno : -ENOMEM;
		store_done(s);
		return r;
	}
	base = mmap(NULL, s->max_slots << BLOCK_SHIFT, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_NORESERVE, s->memfd, 0);
	if (base == MAP_FAILED) {
		r = -errno;
		store_done(s);
		return r;
	}
	s->base = base;
	/* Nobody whom its process forks has any business there. */
	madvise(base, s->max_slots << BLOCK_SHIFT, MADV_DONTFORK);
	/* Fewer faults while it fills, where the system's shmem policy allows huge pages. */
	madvise(base, s->max_slots << BLOCK_SHIFT, MADV_HUGEPAGE);
	return 0;
}

void store_done(struct store *s)
{
	if (s->base)
		munmap(s->base, s->max_slots << BLOCK_SHIFT);
	fd_close(&s->memfd);
	free(s->free);
	*s = (struct store){.memfd = -1};
}

int store_take(struct store *s, struct block *b)
{
	size_t slot;

	if (b->mem)
		return 0;
	if (s->n_free > 0)
		slot = s->free[--s->n_free];
	else if (s->n_slots < s->max_slots)
		slot = s->n_slots++;
	else
		return -ENOSPC;
	b->mem = s->base + (slot << BLOCK_SHIFT);
	s->used += BLOCK_BYTES;
	if (s->used > s->peak)
		s->peak = s->used;
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
	s->used -= BLOCK_BYTES;
	b->mem = NULL;
	memset(&b->have, 0, sizeof(b->have));
}
