/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/pager_impl.h"

#include <errno.h>

/* What somebody still needs of one block and hasn't come. */
static void lacks_of_block(const struct pager *p, const struct image *m, uint64_t number,
	struct page_bits *ret)
{
	const struct block *b = map_get(&m->blocks, number);
	const struct page_bits *bits = m->n_views == 0 ? view_pending_bits(&m->lazy, number) : NULL;

	*ret = bits ? *bits : (struct page_bits){0};
	for (size_t i = 0; i < p->n_views; i++) {
		bits = p->views[i]->image == m ? view_pending_bits(&p->views[i]->view, number) : NULL;
		for (size_t k = 0; bits && k < BLOCK_WORDS; k++)
			ret->w[k] |= bits->w[k];
	}
	for (size_t k = 0; b && k < BLOCK_WORDS; k++)
		ret->w[k] &= ~(b->have.w[k] | b->zero.w[k]);
}

static int add_block(struct ranges *ret, uint64_t number, const struct page_bits *lacks)
{
	uint64_t start = number << BLOCK_SHIFT;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < BLOCK_PAGES; i++)
		if (page_bit(lacks, i))
			r = ranges_add(ret, start + PAGES_TO_BYTES(i),
				start + PAGES_TO_BYTES(i + 1));
	return r;
}

static int lacks_of_image(const struct pager *p, const struct image *m, struct ranges *ret)
{
	uint64_t next = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->lazy.n_extents; i++) {
		const struct extent *x = &m->lazy.extents[i];
		uint64_t n = block_of(x->original) > next ? block_of(x->original) : next;

		for (; r == 0 && n <= block_of(x->original + (x->end - x->start) - 1); n++) {
			struct page_bits lacks;

			lacks_of_block(p, m, n, &lacks);
			r = add_block(ret, n, &lacks);
		}
		next = n;
	}
	return r;
}

int pager_lacking(struct pager *p, uint32_t after, uint32_t *ret_vpid, struct ranges *ret)
{
	const struct image *next = NULL;
	struct map_entry *e;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; (e = map_next(&p->images, &i));) {
		const struct image *m = e->value;

		if (m->vpid > after && (!next || m->vpid < next->vpid))
			next = m;
	}
	if (next) {
		*ret_vpid = next->vpid;
		r = lacks_of_image(p, next, ret);
	}
	pthread_mutex_unlock(&p->lock);
	return r < 0 ? r : next != NULL;
}
