/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/pager_impl.h"

#include "base/clock.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VIEWS_MAX 65536
/* A peer that sends zero pages of ever other addresses and processes would make us note them without
 * end: as many as a store takes whose blocks are as sparse as they may be (two each), and so many more. */
#define PAGES_PER_NOTE 16
#define NOTES_MIN 65536
#define DROP_VIEWS 64 /* so many more, and those that are over are looked for */

int pager_new(uint64_t max_bytes, struct pager **ret, struct err *e)
{
	struct pager *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_sys(e, ENOMEM, "pager");
	r = store_init(&p->store, max_bytes);
	if (r < 0) {
		free(p);
		return err_sys(e, -r, "page store of %llu MiB",
			(unsigned long long)(max_bytes >> 20));
	}
	p->max_notes = NOTES_MIN + BYTES_TO_PAGES(p->store.max_bytes) / PAGES_PER_NOTE;
	p->wake = -1;
	pthread_mutex_init(&p->lock, NULL);
	*ret = p;
	return 0;
}

static void free_values(struct map *m)
{
	struct map_entry *e;

	for (size_t i = 0; (e = map_next(m, &i));)
		free(e->value);
	map_done(m);
}

static void view_free(struct pager_view *w)
{
	fd_close(&w->uffd);
	view_done(&w->view);
	free(w);
}

void pager_free(struct pager *p)
{
	struct map_entry *e;

	if (!p)
		return;
	for (size_t i = 0; i < p->n_views; i++)
		view_free(p->views[i]);
	free(p->views);
	for (size_t i = 0; (e = map_next(&p->images, &i));) {
		struct image *m = e->value;

		view_done(&m->lazy);
		free_values(&m->blocks);
		free_values(&m->came);
	}
	free_values(&p->images);
	store_done(&p->store);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* The value at @key of a map of zeroed objects of @size bytes, made when it isn't there. */
static void *obtain(struct pager *p, struct map *m, uint64_t key, size_t size)
{
	void *v = map_get(m, key);

	if (v || p->n_notes == p->max_notes)
		return v;
	p->n_notes++;
	v = calloc(1, size);
	if (v && map_add(m, key, v) < 0) {
		free(v);
		v = NULL;
	}
	return v;
}

static struct image *image_of(struct pager *p, uint32_t vpid)
{
	struct image *m = obtain(p, &p->images, vpid, sizeof(*m));

	if (m)
		m->vpid = vpid;
	return m;
}

/* --- arrival ------------------------------------------------------------------------------- */

static bool is_lazy(const struct image *m, uint64_t original)
{
	return !m->known || view_is_pending(&m->lazy, original);
}

/* Is this page still needed by somebody, as far as is known? */
static bool is_needed(const struct pager *p, const struct image *m, uint64_t original)
{
	if (m->n_views == 0)
		return is_lazy(m, original);
	for (size_t i = 0; i < p->n_views; i++)
		if (p->views[i]->image == m && view_is_pending(&p->views[i]->view, original))
			return true;
	return false;
}

static int note_arrival(struct pager *p, struct image *m, uint64_t original)
{
	struct page_bits *came = obtain(p, &m->came, block_of(original), sizeof(*came));

	if (!came)
		return -ENOMEM;
	if (page_bit(came, page_in_block(original)))
		return 0;
	page_bit_set(came, page_in_block(original));
	if (m->known && view_is_pending(&m->lazy, original))
		m->n_missing--;
	return 0;
}

static void unlink_block(struct image *m, struct block *b)
{
	if (b->newer)
		b->newer->older = b->older;
	if (b->older)
		b->older->newer = b->newer;
	if (m->newest == b)
		m->newest = b->older;
	b->newer = b->older = NULL;
}

static void make_newest(struct image *m, struct block *b)
{
	unlink_block(m, b);
	b->older = m->newest;
	if (m->newest)
		m->newest->newer = b;
	m->newest = b;
}

struct block *pager_block_at(struct pager *p, struct image *m, uint64_t original)
{
	struct block *b = map_get(&m->blocks, block_of(original));

	if (b)
		return b;
	b = obtain(p, &m->blocks, block_of(original), sizeof(*b));
	if (b) {
		b->number = block_of(original);
		make_newest(m, b);
	}
	return b;
}

/* Keeps one page until a view can take it. */
static int keep(struct pager *p, struct image *m, uint64_t original, const void *data)
{
	struct block *b = pager_block_at(p, m, original);
	uint32_t i = page_in_block(original);
	int r;

	if (!b)
		return -ENOMEM;
	make_newest(m, b);
	p->unsettled = true;
	if (!data) {
		page_bit_clear(&b->have, i);
		page_bit_set(&b->zero, i);
		return 0;
	}
	r = store_keep(&p->store, b, i, data);
	if (r == 0)
		page_bit_clear(&b->zero, i);
	return r;
}

static int put(struct pager *p, struct image *m, uint64_t addr, uint32_t pages, const uint8_t *data)
{
	for (size_t i = 0; i < p->n_views; i++)
		if (p->views[i]->image == m && p->views[i]->uffd >= 0 && !p->views[i]->broken)
			(p->open ? pager_install_arrived : pager_install_asked)(
				p, p->views[i], addr, pages, data);
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t at = addr + PAGES_TO_BYTES(i);
		int r = 0;

		if (is_needed(p, m, at))
			r = keep(p, m, at, data ? data + PAGES_TO_BYTES(i) : NULL);
		if (r == 0)
			r = note_arrival(p, m, at);
		if (r < 0)
			return r;
	}
	return 0;
}

int pager_put(struct pager *p, uint32_t vpid, uint64_t addr, uint32_t pages, const void *data)
{
	struct image *m;
	int r;

	pthread_mutex_lock(&p->lock);
	m = image_of(p, vpid);
	r = m ? put(p, m, addr, pages, data) : -ENOMEM;
	p->stats.arrived += pages;
	pthread_mutex_unlock(&p->lock);
	return r;
}

/* --- what is expected, and views ------------------------------------------------------------ */

/* Drops pages that arrived but that no restore will ask for. */
static bool has_contents(const struct block *b)
{
	for (size_t k = 0; k < BLOCK_WORDS; k++)
		if (b->have.w[k])
			return true;
	return false;
}

static void forget(struct pager *p, struct image *m, uint64_t addr, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t at = addr + PAGES_TO_BYTES(i);
		struct page_bits *came = map_get(&m->came, block_of(at));
		struct block *b = map_get(&m->blocks, block_of(at));
		uint32_t k = page_in_block(at);

		if (came)
			page_bit_clear(came, k);
		if (!b)
			continue;
		page_bit_clear(&b->have, k);
		page_bit_clear(&b->zero, k);
		page_bit_set(&b->hot, k);
		if ((i + 1 == pages || k == BLOCK_PAGES - 1) && !has_contents(b))
			store_give_back(&p->store, b);
	}
}

int pager_forget(struct pager *p, uint32_t vpid, uint64_t addr, uint32_t pages)
{
	struct image *m;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	m = map_get(&p->images, vpid);
	if (m && m->known)
		r = -EINVAL;
	else if (m)
		forget(p, m, addr, pages);
	pthread_mutex_unlock(&p->lock);
	return r;
}

void pager_drop_others(struct pager *p)
{
	struct map_entry *e, *b;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; (e = map_next(&p->images, &i));) {
		struct image *m = e->value;

		if (m->known)
			continue;
		for (size_t k = 0; (b = map_next(&m->blocks, &k));)
			store_give_back(&p->store, b->value);
		m->known = true;
	}
	pthread_mutex_unlock(&p->lock);
}

static void drop_unexpected(struct pager *p, struct image *m)
{
	struct map_entry *e;

	for (size_t i = 0; (e = map_next(&m->blocks, &i));) {
		const struct page_bits *lazy = view_pending_bits(&m->lazy, e->key);
		struct block *b = e->value;
		uint64_t any = 0;

		for (size_t k = 0; k < BLOCK_WORDS; k++) {
			b->have.w[k] &= lazy ? lazy->w[k] : 0;
			b->zero.w[k] &= lazy ? lazy->w[k] : 0;
			any |= b->have.w[k];
		}
		if (!any)
			store_give_back(&p->store, b);
	}
}

static uint64_t count_missing(const struct image *m)
{
	uint64_t n = m->lazy.n_pending;
	struct map_entry *e;

	for (size_t i = 0; (e = map_next(&m->came, &i));) {
		const struct page_bits *lazy = view_pending_bits(&m->lazy, e->key);
		const struct page_bits *came = e->value;

		for (size_t k = 0; lazy && k < BLOCK_WORDS; k++)
			n -= (uint64_t)__builtin_popcountll(lazy->w[k] & came->w[k]);
	}
	return n;
}

static int expect(struct pager *p, struct image *m, const struct ranges *lazy)
{
	if (m->known)
		return -EEXIST;
	for (size_t i = 0; i < lazy->n; i++) {
		int r = view_add(&m->lazy, lazy->v[i].start, lazy->v[i].end);

		if (r < 0)
			return r;
	}
	m->known = true;
	m->n_missing = count_missing(m);
	p->stats.pages += m->lazy.n_pending;
	drop_unexpected(p, m);
	return 0;
}

int pager_expect(struct pager *p, uint32_t vpid, const struct ranges *lazy)
{
	struct image *m;
	int r;

	pthread_mutex_lock(&p->lock);
	m = image_of(p, vpid);
	r = m ? expect(p, m, lazy) : -ENOMEM;
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int append_view(struct pager *p, struct pager_view *w)
{
	if (p->n_views == VIEWS_MAX)
		return -E2BIG;
	if (p->n_views == p->cap_views) {
		size_t cap = p->cap_views ? p->cap_views * 2 : 16;
		struct pager_view **bigger = realloc(p->views, cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		p->views = bigger;
		p->cap_views = cap;
	}
	p->views[p->n_views++] = w;
	w->image->n_views++;
	p->unsettled = true;
	return 0;
}

static bool is_over(const struct pager_view *w)
{
	return w->uffd < 0 || ((w->view.n_pending > 0 || w->broken) && uffd_is_dead(w->uffd));
}

static void drop_waits(struct pager *p, const struct pager_view *w)
{
	for (size_t i = 0; i < p->n_waits;)
		if (p->waits[i].view == w)
			p->waits[i] = p->waits[--p->n_waits];
		else
			i++;
}

/* Drops the views, but @keep, that need nothing any more: short-lived children would each hold a
 * descriptor until the turn to be filled came to them. Their images keep count of them. */
void pager_drop_views(struct pager *p, const struct pager_view *keep)
{
	for (size_t i = p->n_views; i-- > 0;) {
		struct pager_view *w = p->views[i];

		if (w == keep || !is_over(w))
			continue;
		drop_waits(p, w);
		view_free(w);
		p->views[i] = p->views[--p->n_views];
	}
	p->drop_at = 2 * p->n_views + DROP_VIEWS;
}

int pager_new_view(struct pager *p, struct image *m, const struct view *like, int uffd)
{
	struct pager_view *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->image = m;
	w->uffd = -1;
	r = view_copy(like, &w->view);
	if (r == 0)
		r = append_view(p, w);
	if (r < 0)
		view_free(w);
	else
		w->uffd = uffd;
	return r;
}

void pager_set_wake(struct pager *p, int eventfd)
{
	pthread_mutex_lock(&p->lock);
	p->wake = eventfd;
	pthread_mutex_unlock(&p->lock);
}

static void wake_server(struct pager *p)
{
	if (p->wake >= 0)
		eventfd_write(p->wake, 1);
}

int pager_add_view(struct pager *p, uint32_t vpid, int uffd, struct err *e)
{
	struct image *m;
	int r;

	pthread_mutex_lock(&p->lock);
	m = map_get(&p->images, vpid);
	if (!m || !m->known) {
		r = err_set(e, ERR_LOCAL, ENOENT,
			"CRIU asks for the memory of process %u, whose pagemap did not come", vpid);
	} else {
		r = pager_new_view(p, m, &m->lazy, uffd);
		if (r < 0)
			err_sys(e, -r, "view of process %u", vpid);
		wake_server(p);
	}
	pthread_mutex_unlock(&p->lock);
	if (r < 0)
		close(uffd);
	return r;
}

void pager_drop_ended(struct pager *p)
{
	pthread_mutex_lock(&p->lock);
	pager_drop_views(p, NULL);
	pthread_mutex_unlock(&p->lock);
}

void pager_open(struct pager *p)
{
	pthread_mutex_lock(&p->lock);
	p->open = true;
	p->opened_at = clock_now();
	p->unsettled = true;
	wake_server(p);
	pthread_mutex_unlock(&p->lock);
}

/* --- state ---------------------------------------------------------------------------------- */

bool pager_has_all(struct pager *p)
{
	struct map_entry *e;
	bool all = true;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; (e = map_next(&p->images, &i));) {
		const struct image *m = e->value;

		all &= m->known && m->n_missing == 0;
	}
	pthread_mutex_unlock(&p->lock);
	return all;
}

static bool any_broken(const struct pager *p)
{
	bool any = false;

	for (size_t i = 0; i < p->n_views; i++)
		any |= p->views[i]->broken;
	return any;
}

static uint64_t count_pending(const struct pager *p)
{
	uint64_t n = 0;
	struct map_entry *e;

	for (size_t i = 0; i < p->n_views; i++)
		n += p->views[i]->view.n_pending;
	for (size_t i = 0; (e = map_next(&p->images, &i));) {
		const struct image *m = e->value;

		if (m->known && m->n_views == 0)
			n += m->lazy.n_pending;
	}
	return n;
}

bool pager_done(struct pager *p)
{
	bool done;

	pthread_mutex_lock(&p->lock);
	done = p->open && count_pending(p) == 0 && !any_broken(p);
	pthread_mutex_unlock(&p->lock);
	return done;
}

static int compare_samples(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

struct pager_stats pager_stats(struct pager *p)
{
	struct pager_stats r;
	static_assert(sizeof(p->samples) < 65536, "copied to the stack");
	uint32_t sorted[PAGER_SAMPLES];
	size_t n;

	pthread_mutex_lock(&p->lock);
	r = p->stats;
	r.pending = count_pending(p);
	r.store_used = p->store.used;
	r.store_peak = p->store.peak;
	n = p->n_samples < PAGER_SAMPLES ? p->n_samples : PAGER_SAMPLES;
	memcpy(sorted, p->samples, n * sizeof(sorted[0]));
	pthread_mutex_unlock(&p->lock);
	if (n > 0) {
		qsort(sorted, n, sizeof(sorted[0]), compare_samples);
		r.p50_ns = sorted[n / 2];
		r.p99_ns = sorted[n * 99 / 100];
	}
	return r;
}
