/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/pager_impl.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

#define STEP_PAGES 16 /* installed at once: the lock is held no longer than that takes */

void pager_sample(struct pager *p, uint64_t since)
{
	uint64_t ns = clock_now() - since;

	p->samples[p->n_samples++ % PAGER_SAMPLES] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static void end_waits(struct pager *p, const struct pager_view *w, uint64_t original, uint32_t n)
{
	for (size_t i = 0; i < p->n_waits;) {
		struct wait *x = &p->waits[i];

		if (x->view == w && x->original - original < PAGES_TO_BYTES(n)) {
			pager_sample(p, x->since);
			*x = p->waits[--p->n_waits];
		} else {
			i++;
		}
	}
}

static void settle(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n)
{
	view_clear(&w->view, original, n);
	if (p->n_waits > 0)
		end_waits(p, w, original, n);
}

/* The process has ended, or its address space by exec(2): it lacks nothing any more. */
static void view_ended(struct pager_view *w)
{
	view_done(&w->view);
}

/* The kernel fills pages of one region at a time: a run that goes over its end is refused whole,
 * as if there were none. */
static int fill(const struct pager_view *w, uint64_t at, uint32_t pages, const uint8_t *data,
	uint64_t *ret_done)
{
	int r;

	do {
		if (data)
			r = uffd_copy(w->uffd, at, data, PAGES_TO_BYTES(pages), ret_done);
		else
			r = uffd_zero(w->uffd, at, PAGES_TO_BYTES(pages), ret_done);
		pages /= 2;
	} while (r == -ENOENT && *ret_done == 0 && pages > 0);
	return r;
}

int pager_install(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data)
{
	while (n > 0) {
		uint64_t at, done = 0;
		uint32_t run = view_current(&w->view, original, n, &at);
		int r;

		if (run == 0)
			return 0;
		r = fill(w, at, run, data, &done);
		run = (uint32_t)BYTES_TO_PAGES(done);
		settle(p, w, original, run);
		*(data ? &p->stats.installed : &p->stats.zero_pages) += run;
		/* EEXIST: it was there already. ENOENT: no region there now, so no one can touch
		 * it and its unmapping has been read. Either way that page is settled. */
		if (r == -EEXIST || r == -ENOENT) {
			settle(p, w, original + done, 1);
			run++;
		} else if (r == -ESRCH) {
			view_ended(w);
			return 0;
		} else if (r < 0 && run == 0) {
			return r;
		}
		original += PAGES_TO_BYTES(run);
		if (data)
			data += PAGES_TO_BYTES(run);
		n -= run;
	}
	return 0;
}

/* Nobody reads a page that was never populated differently from a zero page: once a view knows
 * it to be zero, leaving it out is enough, unless a thread waits for it already. */
static int settle_zero(struct pager *p, struct pager_view *w, uint64_t original)
{
	const struct block *b = map_get(&w->image->blocks, block_of(original));

	if (b && page_bit(&b->asked, page_in_block(original)))
		return pager_install(p, w, original, 1, NULL);
	settle(p, w, original, 1);
	p->stats.zero_pages++;
	return 0;
}

void pager_install_arrived(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data)
{
	for (uint32_t i = 0; i < n;) {
		uint64_t at = original + PAGES_TO_BYTES(i);
		uint32_t run = view_pending_run(&w->view, at, n - i);

		if (run > 0 && data)
			pager_install(p, w, at, run, data + PAGES_TO_BYTES(i));
		for (uint32_t k = 0; k < run && !data; k++)
			settle_zero(p, w, at + PAGES_TO_BYTES(k));
		i += run + 1;
	}
}

void pager_install_asked(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t at = original + PAGES_TO_BYTES(i);
		const struct block *b = map_get(&w->image->blocks, block_of(at));

		if (b && page_bit(&b->asked, page_in_block(at)))
			pager_install_arrived(p, w, at, 1, data ? data + PAGES_TO_BYTES(i) : NULL);
	}
}

/* Is a page of this block, with contents in the store, pending in any view? */
static bool block_is_needed(const struct pager *p, const struct image *m, uint64_t number,
	const struct block *b)
{
	for (size_t i = 0; i < p->n_views; i++) {
		const struct page_bits *pending;

		if (p->views[i]->image != m)
			continue;
		pending = view_pending_bits(&p->views[i]->view, number);
		for (size_t k = 0; pending && k < BLOCK_WORDS; k++)
			if (pending->w[k] & b->have.w[k])
				return true;
	}
	return false;
}

void pager_give_back(struct pager *p, struct image *m, uint64_t number, struct block *b)
{
	if (b->mem && !block_is_needed(p, m, number, b))
		store_give_back(&p->store, b);
}

/* From @i on, the first page before @last of which the store has what a view lacks, @pending; @last: there is none.
 * Whole blocks are passed over again and again, so by words. */
static uint32_t next_installable(const struct page_bits *pending, const struct block *b, uint32_t i, uint32_t last,
	bool hot)
{
	while (i < last) {
		uint32_t k = i / 64;
		uint64_t w = pending->w[k] & (b->have.w[k] | b->zero.w[k]) & ~0ull << i % 64;

		if (hot)
			w &= b->hot.w[k];
		if (w != 0) {
			i = k * 64 + (uint32_t)__builtin_ctzll(w);
			break;
		}
		i = (k + 1) * 64;
	}
	return i < last ? i : last;
}

/* So many pages from @i on that are installed at once. */
static uint32_t installable_run(const struct page_bits *pending, const struct block *b, uint32_t i, uint32_t last,
	bool hot)
{
	uint32_t run = 0;

	while (i + run < last && run < STEP_PAGES && page_bit(pending, i + run) && page_bit(&b->have, i + run) &&
		(!hot || page_bit(&b->hot, i + run)))
		run++;
	return run;
}

bool pager_install_block(struct pager *p, struct pager_view *w, struct block *b,
	uint32_t first, uint32_t last, bool hot)
{
	bool did = false;

	for (uint32_t i = first;; i++) {
		/* Anew each time: a view may end. */
		const struct page_bits *pending = view_pending_bits(&w->view, b->number);
		uint64_t at;

		i = pending ? next_installable(pending, b, i, last, hot) : last;
		if (i == last)
			return did;
		at = (b->number << BLOCK_SHIFT) + PAGES_TO_BYTES(i);
		if (page_bit(&b->zero, i)) {
			did |= settle_zero(p, w, at) == 0;
			continue;
		}
		did |= pager_install(p, w, at, installable_run(pending, b, i, last, hot),
			       b->mem + PAGES_TO_BYTES(i)) == 0;
		pager_give_back(p, w->image, b->number, b);
		return did;
	}
}

/* One step over one view: the newest of its blocks in which something can be done. */
static bool step_view(struct pager *p, struct pager_view *w)
{
	struct block *b = w->cursor ? w->cursor : w->image->newest;

	if (w->uffd < 0 || w->broken || w->view.n_pending == 0)
		return false;
	for (; b; b = b->older)
		if (pager_install_block(p, w, b, 0, BLOCK_PAGES, !p->hot_done)) {
			w->cursor = b; /* there may be more in it */
			return true;
		}
	w->cursor = NULL;
	return false;
}

static bool step_views(struct pager *p)
{
	for (size_t i = 0; i < p->n_views; i++) {
		if (p->step_view >= p->n_views)
			p->step_view = 0;
		if (step_view(p, p->views[p->step_view]))
			return true;
		p->step_view++;
	}
	return false;
}

/* Before the opening: one page that a thread waits for. Events may have kept it from being installed. */
static bool step_waits(struct pager *p)
{
	for (size_t i = 0; i < p->n_waits; i++) {
		const struct wait *x = &p->waits[i];
		struct block *b = map_get(&x->view->image->blocks, block_of(x->original));
		uint32_t k = page_in_block(x->original);

		if (b && !x->view->broken && pager_install_block(p, x->view, b, k, k + 1, false))
			return true;
	}
	return false;
}

void pager_retry(struct pager *p)
{
	pthread_mutex_lock(&p->lock);
	p->unsettled = true;
	pthread_mutex_unlock(&p->lock);
}

/* Memory is given back as pages are installed from it; what became unneeded in another way
 * (discarded, arrived twice, installed for the last of several views) is found here. */
static void sweep(struct pager *p)
{
	struct map_entry *m, *b;

	for (size_t i = 0; (m = map_next(&p->images, &i));) {
		struct image *image = m->value;

		if (image->n_views == 0)
			continue;
		for (size_t k = 0; (b = map_next(&image->blocks, &k));)
			pager_give_back(p, image, b->key, b->value);
	}
}

bool pager_step(struct pager *p)
{
	bool did = false;

	pthread_mutex_lock(&p->lock);
	if (p->unsettled)
		did = p->open ? step_views(p) : step_waits(p);
	if (!did && p->open && !p->hot_done) {
		p->hot_done = true;
		did = true;
	} else if (!did && p->unsettled) {
		if (p->open)
			sweep(p);
		p->unsettled = false;
	}
	pthread_mutex_unlock(&p->lock);
	return did;
}
