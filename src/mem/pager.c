/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/pager.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/map.h"
#include "mem/codec.h"
#include "mem/store.h"
#include "mem/view.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VIEWS_MAX 65536
#define STEP_PAGES 16	   /* installed at once: the lock is held no longer than that takes */
#define AROUND_PAGES 32	   /* installed with a page that was touched, on either side */
#define WISH_PAGES 16	   /* asked for with a page that was touched, */
#define WISH_PAGES_MAX CODEC_CHUNK_PAGES /* and up to that many when faults follow each other */
#define MESSAGES 16	   /* read at once from a userfaultfd */
#define SAMPLES 8192	   /* of fault latencies, the newest */
#define WAITS_MAX 1024	   /* faults timed at a time */
#define DROP_VIEWS 64	   /* so many more, and those that are over are looked for */

struct image {
	uint32_t vpid;
	bool known;	 /* pager_expect() was called */
	size_t n_views; /* that there have been */
	struct view lazy; /* as expected: what a new view lacks */
	uint64_t n_missing; /* lazy pages that have not come */
	struct map blocks; /* block number -> struct block, owned */
	struct block *newest;
	struct map came;   /* block number -> struct page_bits, owned: arrived once */
};

struct pager_view {
	struct image *image;
	struct view view;
	int uffd; /* owned; -1 when it lacks nothing any more or its process has ended */
	struct block *cursor; /* of pager_step() in the image's blocks; NULL: at the newest */
	uint64_t wish_end; /* where the last wish ended: a fault there goes on */
	uint32_t window;   /* pages to ask for */
};

/* A fault whose page was asked for. */
struct wait {
	const struct pager_view *view;
	uint64_t original, since;
};

struct pager {
	pthread_mutex_t lock; /* of everything */
	struct store store;
	struct map images; /* vpid -> struct image, owned */
	struct pager_view **views; /* owned */
	size_t n_views, cap_views, step_view;
	size_t drop_at; /* so many views, and those that are over are looked for */
	int wake; /* borrowed: the server's, or -1 */
	bool open;
	bool unsettled; /* something in the store may be installable */
	bool hot_done;	/* pages that are written all the time have been installed */
	struct wait waits[WAITS_MAX];
	size_t n_waits;
	uint32_t samples[SAMPLES]; /* nanoseconds, at most 4 s */
	size_t n_samples;
	struct pager_stats stats;
};

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
static void *obtain(struct map *m, uint64_t key, size_t size)
{
	void *v = map_get(m, key);

	if (v)
		return v;
	v = calloc(1, size);
	if (v && map_add(m, key, v) < 0) {
		free(v);
		v = NULL;
	}
	return v;
}

static struct image *image_of(struct pager *p, uint32_t vpid)
{
	struct image *m = obtain(&p->images, vpid, sizeof(*m));

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

static int note_arrival(struct image *m, uint64_t original)
{
	struct page_bits *came = obtain(&m->came, block_of(original), sizeof(*came));

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

static struct block *block_at(struct image *m, uint64_t original)
{
	struct block *b = map_get(&m->blocks, block_of(original));

	if (b)
		return b;
	b = obtain(&m->blocks, block_of(original), sizeof(*b));
	if (b) {
		b->number = block_of(original);
		make_newest(m, b);
	}
	return b;
}

/* Keeps one page until a view can take it. */
static int keep(struct pager *p, struct image *m, uint64_t original, const void *data)
{
	struct block *b = block_at(m, original);
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
	r = store_take(&p->store, b);
	if (r < 0)
		return r;
	memcpy(b->mem + PAGES_TO_BYTES(i), data, PAGE_BYTES);
	page_bit_set(&b->have, i);
	page_bit_clear(&b->zero, i);
	return 0;
}

/* --- installing ---------------------------------------------------------------------------- */

static void sample(struct pager *p, uint64_t since)
{
	uint64_t ns = clock_now() - since;

	p->samples[p->n_samples++ % SAMPLES] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static void end_waits(struct pager *p, const struct pager_view *w, uint64_t original, uint32_t n)
{
	for (size_t i = 0; i < p->n_waits;) {
		struct wait *x = &p->waits[i];

		if (x->view == w && x->original - original < PAGES_TO_BYTES(n)) {
			sample(p, x->since);
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

/*
 * Copies (or zeroes, for @data NULL) original pages to where they are now. What can't be now
 * stays pending: -EAGAIN until an event has been read, -ENOMEM.
 */
static int install(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
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
		return install(p, w, original, 1, NULL);
	settle(p, w, original, 1);
	p->stats.zero_pages++;
	return 0;
}

static void install_arrived(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data)
{
	for (uint32_t i = 0; i < n;) {
		uint64_t at = original + PAGES_TO_BYTES(i);
		uint32_t run = 0;

		while (i + run < n && view_is_pending(&w->view, at + PAGES_TO_BYTES(run)))
			run++;
		if (run > 0 && data)
			install(p, w, at, run, data + PAGES_TO_BYTES(i));
		for (uint32_t k = 0; k < run && !data; k++)
			settle_zero(p, w, at + PAGES_TO_BYTES(k));
		i += run + 1;
	}
}

/* Before the opening only what a thread waits for may be installed: nothing else is known to be
 * registered, or to lie where it will. */
static void install_asked(struct pager *p, struct pager_view *w, uint64_t original, uint32_t n,
	const uint8_t *data)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t at = original + PAGES_TO_BYTES(i);
		const struct block *b = map_get(&w->image->blocks, block_of(at));

		if (b && page_bit(&b->asked, page_in_block(at)))
			install_arrived(p, w, at, 1, data ? data + PAGES_TO_BYTES(i) : NULL);
	}
}

static int put(struct pager *p, struct image *m, uint64_t addr, uint32_t pages, const uint8_t *data)
{
	for (size_t i = 0; i < p->n_views; i++)
		if (p->views[i]->image == m && p->views[i]->uffd >= 0)
			(p->open ? install_arrived : install_asked)(
				p, p->views[i], addr, pages, data);
	for (uint32_t i = 0; i < pages; i++) {
		uint64_t at = addr + PAGES_TO_BYTES(i);
		int r = 0;

		if (is_needed(p, m, at))
			r = keep(p, m, at, data ? data + PAGES_TO_BYTES(i) : NULL);
		if (r == 0)
			r = note_arrival(m, at);
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
	return w->uffd < 0 || (w->view.n_pending > 0 && uffd_is_dead(w->uffd));
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
static void drop_views(struct pager *p, const struct pager_view *keep)
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

/* A view of @m lacking what @like lacks; takes over @uffd. */
static int new_view(struct pager *p, struct image *m, const struct view *like, int uffd)
{
	struct pager_view *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		close(uffd);
		return -ENOMEM;
	}
	w->image = m;
	w->uffd = uffd;
	r = view_copy(like, &w->view);
	if (r == 0)
		r = append_view(p, w);
	if (r < 0)
		view_free(w);
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
		close(uffd);
		r = err_set(e, ERR_LOCAL, ENOENT,
			"CRIU asks for the memory of process %u, whose pagemap did not come", vpid);
	} else {
		r = new_view(p, m, &m->lazy, uffd);
		if (r < 0)
			err_sys(e, -r, "view of process %u", vpid);
		wake_server(p);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

void pager_open(struct pager *p)
{
	pthread_mutex_lock(&p->lock);
	p->open = true;
	p->unsettled = true;
	wake_server(p);
	pthread_mutex_unlock(&p->lock);
}

/* --- the fault server's side ---------------------------------------------------------------- */

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

static void give_back_if_unneeded(struct pager *p, struct image *m, uint64_t number, struct block *b)
{
	if (b->mem && !block_is_needed(p, m, number, b))
		store_give_back(&p->store, b);
}

/* Installs what the store has of @w's pending pages in [first, last) of one block, of the hot ones
 * if @hot; at most STEP_PAGES with contents. True when it did anything. */
static bool install_from_block(struct pager *p, struct pager_view *w, struct block *b,
	uint32_t first, uint32_t last, bool hot)
{
	uint64_t base = b->number << BLOCK_SHIFT;
	bool did = false;

	for (uint32_t i = first; i < last; i++) {
		uint64_t at = base + PAGES_TO_BYTES(i);
		uint32_t run = 0;

		if (!view_is_pending(&w->view, at) || (hot && !page_bit(&b->hot, i)))
			continue;
		if (page_bit(&b->zero, i)) {
			did |= settle_zero(p, w, at) == 0;
			continue;
		}
		while (i + run < last && run < STEP_PAGES && page_bit(&b->have, i + run) &&
			(!hot || page_bit(&b->hot, i + run)) &&
			view_is_pending(&w->view, at + PAGES_TO_BYTES(run)))
			run++;
		if (run == 0)
			continue;
		did |= install(p, w, at, run, b->mem + PAGES_TO_BYTES(i)) == 0;
		give_back_if_unneeded(p, w->image, b->number, b);
		return did;
	}
	return did;
}

/* One step over one view: the newest of its blocks in which something can be done. */
static bool step_view(struct pager *p, struct pager_view *w)
{
	struct block *b = w->cursor ? w->cursor : w->image->newest;

	if (w->uffd < 0 || w->view.n_pending == 0)
		return false;
	for (; b; b = b->older)
		if (install_from_block(p, w, b, 0, BLOCK_PAGES, !p->hot_done)) {
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
			give_back_if_unneeded(p, image, b->key, b->value);
	}
}

bool pager_step(struct pager *p)
{
	bool did = false;

	pthread_mutex_lock(&p->lock);
	if (p->open && p->unsettled)
		did = step_views(p);
	if (!did && p->open && !p->hot_done) {
		p->hot_done = true;
		did = true;
	} else if (!did && p->open && p->unsettled) {
		sweep(p);
		p->unsettled = false;
	}
	pthread_mutex_unlock(&p->lock);
	return did;
}

/* A page that isn't lacking: zero if it is missing, else another thread was faster. */
static int serve_zero(const struct pager_view *w, uint64_t addr)
{
	uint64_t done;
	int r = uffd_zero(w->uffd, addr, PAGE_BYTES, &done);

	/* EAGAIN: an event has to be read first, ENOENT: what lay there has moved; then the thread
	 * faults once more. */
	if (r == -EEXIST || r == -EAGAIN || r == -ENOENT)
		r = uffd_wake(w->uffd, addr, PAGE_BYTES);
	return r == -ESRCH ? 0 : r;
}

/* Before the opening a page alone; then more and more, as long as faults follow each other. */
static uint32_t wish_window(const struct pager *p, struct pager_view *w, uint64_t original)
{
	if (!p->open)
		return 1;
	if (original != w->wish_end || w->window == 0)
		w->window = WISH_PAGES;
	else if (w->window < WISH_PAGES_MAX)
		w->window *= 2;
	return w->window;
}

static struct pager_wish make_wish(
	const struct pager *p, struct pager_view *w, struct block *b, uint64_t original)
{
	uint32_t i = page_in_block(original), n = 0, max = wish_window(p, w, original);

	while (n < max && i + n < BLOCK_PAGES && !page_bit(&b->asked, i + n) &&
		!page_bit(&b->have, i + n) && !page_bit(&b->zero, i + n) &&
		view_is_pending(&w->view, original + PAGES_TO_BYTES(n))) {
		page_bit_set(&b->asked, i + n);
		n++;
	}
	w->wish_end = original + PAGES_TO_BYTES(n);
	return (struct pager_wish){.vpid = w->image->vpid, .pages = n, .addr = original};
}

/* Answers one fault; a wish with pages != 0 when the page has to be asked for. */
static int serve_fault(struct pager *p, struct pager_view *w, uint64_t addr, struct pager_wish *wish)
{
	uint64_t original, since = clock_now();
	struct block *b;
	uint32_t i;

	p->stats.faults++;
	if (!view_original(&w->view, addr, &original) || !view_is_pending(&w->view, original))
		return serve_zero(w, addr);
	b = block_at(w->image, original);
	if (!b)
		return -ENOMEM;
	i = page_in_block(original);
	if (page_bit(&b->zero, i)) {
		install(p, w, original, 1, NULL);
		sample(p, since);
	} else if (page_bit(&b->have, i)) {
		uint32_t first = i > AROUND_PAGES ? i - AROUND_PAGES : 0;
		uint32_t last = i + AROUND_PAGES < BLOCK_PAGES ? i + AROUND_PAGES : BLOCK_PAGES;

		install(p, w, original, 1, b->mem + PAGES_TO_BYTES(i));
		sample(p, since);
		if (p->open)
			install_from_block(p, w, b, first, last, false);
		give_back_if_unneeded(p, w->image, block_of(original), b);
	} else {
		p->stats.urgent++;
		if (p->n_waits < WAITS_MAX)
			p->waits[p->n_waits++] = (struct wait){w, original, since};
		*wish = make_wish(p, w, b, original);
	}
	return 0;
}

static int serve_event(struct pager *p, struct pager_view *w, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_FORK:
		if (p->n_views >= p->drop_at)
			drop_views(p, w);
		return new_view(p, w->image, &w->view, (int)m->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
		return view_move(&w->view, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		return view_drop(&w->view, m->arg.remove.start, m->arg.remove.end);
	default:
		return 0;
	}
}

static struct pager_view *find_view(struct pager *p, int uffd)
{
	for (size_t i = 0; i < p->n_views; i++)
		if (p->views[i]->uffd == uffd)
			return p->views[i];
	return NULL;
}

int pager_serve(struct pager *p, int uffd, struct pager_wish *wishes, size_t max, struct err *e)
{
	struct uffd_msg msgs[MESSAGES];
	struct pager_view *w;
	int n = 0, n_wishes = 0, r = 0;

	pthread_mutex_lock(&p->lock);
	w = find_view(p, uffd);
	if (w)
		n = uffd_read(uffd, msgs, max < MESSAGES ? max : MESSAGES);
	/* Having been read, forks and the like go on: they come before anything is installed for a
	 * fault, which the kernel hands out first. */
	for (int i = 0; i < n && r == 0; i++)
		if (msgs[i].event != UFFD_EVENT_PAGEFAULT)
			r = serve_event(p, w, &msgs[i]);
	for (int i = 0; i < n && r == 0; i++) {
		struct pager_wish wish = {0};

		if (msgs[i].event == UFFD_EVENT_PAGEFAULT)
			r = serve_fault(p, w, page_floor(msgs[i].arg.pagefault.address), &wish);
		if (wish.pages > 0)
			wishes[n_wishes++] = wish;
	}
	/* A child that there is no descriptor for now waits, as its parent does. */
	if (n == -EMFILE || n == -ENFILE)
		drop_views(p, w);
	else if (n < 0 && n != -EAGAIN)
		r = n;
	if (n > 0)
		p->unsettled = true; /* what an event kept from being installed */
	if (r < 0)
		err_sys(e, -r, "serving page faults of process %u", w->image->vpid);
	pthread_mutex_unlock(&p->lock);
	return r < 0 ? r : n_wishes;
}

size_t pager_fds(struct pager *p, int *ret, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n_views; i++) {
		struct pager_view *w = p->views[i];

		/* It lacks nothing: from here on it lives without us. Only now and here, since
		 * the fault server, which calls this, must not be polling it. */
		if (p->open && w->view.n_pending == 0)
			fd_close(&w->uffd);
		if (w->uffd >= 0 && n < max)
			ret[n++] = w->uffd;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
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
	done = p->open && count_pending(p) == 0;
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
	uint32_t sorted[SAMPLES];
	size_t n;

	pthread_mutex_lock(&p->lock);
	r = p->stats;
	r.pending = count_pending(p);
	r.store_used = p->store.used;
	r.store_peak = p->store.peak;
	n = p->n_samples < SAMPLES ? p->n_samples : SAMPLES;
	memcpy(sorted, p->samples, n * sizeof(sorted[0]));
	pthread_mutex_unlock(&p->lock);
	if (n > 0) {
		qsort(sorted, n, sizeof(sorted[0]), compare_samples);
		r.p50_ns = sorted[n / 2];
		r.p99_ns = sorted[n * 99 / 100];
	}
	return r;
}
