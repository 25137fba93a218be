/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/pager_impl.h"

#include "base/clock.h"
#include "base/fd.h"
#include "mem/codec.h"

#include <errno.h>

#define AROUND_PAGES 32	   /* installed with a page that was touched, on either side */
#define AROUND_STEPS 6	   /* in that many steps at most */
#define WISH_PAGES 16	   /* asked for with a page that was touched, */
#define WISH_PAGES_MAX CODEC_CHUNK_PAGES /* and up to that many when faults follow each other */
#define MESSAGES 16	   /* read at once from a userfaultfd */

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

/* The thread goes on meanwhile, most likely upwards. */
static void install_around(struct pager *p, struct pager_view *w, struct block *b, uint32_t i)
{
	uint32_t first = i > AROUND_PAGES ? i - AROUND_PAGES : 0;
	uint32_t last = i + AROUND_PAGES < BLOCK_PAGES ? i + AROUND_PAGES : BLOCK_PAGES;

	for (unsigned steps = 0; steps < AROUND_STEPS; steps++)
		if (!pager_install_block(p, w, b, i, last, false) && !pager_install_block(p, w, b, first, i, false))
			break;
}

static void add_wait(struct pager *p, struct pager_view *w, uint64_t original, uint64_t since)
{
	if (p->n_waits < PAGER_WAITS_MAX)
		p->waits[p->n_waits++] = (struct wait){w, original, since};
}

/* With a page that is here. One that an event keeps from being installed now is by pager_step(), which does not
 * leave it out, should it be zero, when it has been asked for. */
static void answer_fault(struct pager *p, struct pager_view *w, struct block *b, uint64_t original, uint64_t since)
{
	uint32_t i = page_in_block(original);
	const uint8_t *data = page_bit(&b->zero, i) ? NULL : b->mem + PAGES_TO_BYTES(i);

	if (pager_install(p, w, original, 1, data) == 0) {
		pager_sample(p, since);
		return;
	}
	page_bit_set(&b->asked, i);
	add_wait(p, w, original, since);
}

static void count_fault(struct pager *p, uint64_t now)
{
	uint64_t ms = (now - p->opened_at) / NSEC_PER_MSEC;
	unsigned i = 0;

	p->stats.faults++;
	if (!p->open)
		return;
	for (; ms > 0 && i < PAGER_FAULT_TIMES - 1; ms /= 2)
		i++;
	p->stats.fault_times[i]++;
}

/* Answers one fault; a wish with pages != 0 when the page has to be asked for. */
static int serve_fault(struct pager *p, struct pager_view *w, uint64_t addr, struct pager_wish *wish)
{
	uint64_t original, since = clock_now();
	struct block *b;
	uint32_t i;

	count_fault(p, since);
	if (!view_original(&w->view, addr, &original) || !view_is_pending(&w->view, original))
		return serve_zero(w, addr);
	b = pager_block_at(p, w->image, original);
	if (!b)
		return -ENOMEM;
	i = page_in_block(original);
	if (page_bit(&b->zero, i)) {
		answer_fault(p, w, b, original, since);
	} else if (page_bit(&b->have, i)) {
		answer_fault(p, w, b, original, since);
		if (p->open)
			install_around(p, w, b, i);
		pager_give_back(p, w->image, block_of(original), b);
	} else {
		p->stats.urgent++;
		add_wait(p, w, original, since);
		*wish = make_wish(p, w, b, original);
	}
	return 0;
}

static void drop_gone_waits(struct pager *p, const struct pager_view *w)
{
	for (size_t i = 0; i < p->n_waits;)
		if (p->waits[i].view == w && !view_is_pending(&w->view, p->waits[i].original))
			p->waits[i] = p->waits[--p->n_waits];
		else
			i++;
}

/* Nothing is installed there any more that would wake who waits: by a fault anew it meets what is there now.
 * The kernel refuses addresses at which nobody waits; that doesn't matter. */
static void wake_all(struct pager *p, const struct pager_view *w, uint64_t start, uint64_t end)
{
	uffd_wake(w->uffd, start, end - start);
	if (p->n_waits > 0)
		drop_gone_waits(p, w);
}

static int serve_drop(struct pager *p, struct pager_view *w, uint64_t start, uint64_t end)
{
	int r = view_drop(&w->view, start, end);

	if (r == 0)
		wake_all(p, w, start, end);
	return r;
}

static int serve_move(struct pager *p, struct pager_view *w, uint64_t from, uint64_t to, uint64_t len)
{
	int r = view_move(&w->view, from, to, len);

	if (r == 0)
		wake_all(p, w, from, from + len);
	return r;
}

static int serve_event(struct pager *p, struct pager_view *w, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_FORK:
		if (p->n_views >= p->drop_at)
			pager_drop_views(p, w);
		/* If that fails its descriptor stays open without an owner: the child waits. */
		return pager_new_view(p, w->image, &w->view, (int)m->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
		return serve_move(p, w, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		return serve_drop(p, w, m->arg.remove.start, m->arg.remove.end);
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
		pager_drop_views(p, w);
	else if (n < 0 && n != -EAGAIN)
		r = n;
	if (n > 0)
		p->unsettled = true; /* what an event kept from being installed */
	if (r < 0) {
		w->broken = true;
		err_sys(e, -r, "serving page faults of process %u", w->image->vpid);
	}
	pthread_mutex_unlock(&p->lock);
	return r < 0 ? r : n_wishes;
}

static void forget_asked(struct pager *p)
{
	struct map_entry *e, *x;

	for (size_t i = 0; (e = map_next(&p->images, &i));) {
		struct image *m = e->value;

		for (size_t k = 0; (x = map_next(&m->blocks, &k));)
			((struct block *)x->value)->asked = (struct page_bits){0};
	}
}

size_t pager_wishes(struct pager *p, struct pager_wish *wishes, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	forget_asked(p);
	for (size_t i = 0; i < p->n_waits && n < max; i++) {
		struct pager_view *w = p->waits[i].view;
		struct block *b = pager_block_at(p, w->image, p->waits[i].original);

		if (b)
			wishes[n] = make_wish(p, w, b, p->waits[i].original);
		n += b && wishes[n].pages > 0;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}

size_t pager_fds(struct pager *p, int *ret, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n_views; i++) {
		struct pager_view *w = p->views[i];

		/* It lacks nothing: from here on it lives without us. Only now and here, since
		 * the fault server, which calls this, must not be polling it. */
		if (p->open && w->view.n_pending == 0 && !w->broken)
			fd_close(&w->uffd);
		if (w->uffd >= 0 && !w->broken && n < max)
			ret[n++] = w->uffd;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}
