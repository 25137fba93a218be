/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "kernel/uffd.h"
#include "mem/pager.h"
#include "mem/server.h"
#include "mem/store.h"
#include "mem/view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define VPID 7
#define STORE_MAX (64u << 20)
/* EVENT_FORK needs CAP_SYS_PTRACE; its test is skipped without. */
#define EVENTS (UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE)

/* A "restored process" in this one: registered memory and a pager that fills it. */
struct scene {
	uint8_t *mem;
	size_t pages;
	struct pager *pager;
	struct server *server;
	pthread_t thread; /* the server's */
	uint32_t asked[4096]; /* wishes per page */
	int done;	      /* an eventfd */
	bool answer;	      /* answer wishes at once */
};

static void fill(uint8_t *page, uint32_t index)
{
	for (size_t i = 0; i < PAGE_BYTES; i += sizeof(uint32_t)) {
		uint32_t v = index * 2654435761u + (uint32_t)i + 1;

		memcpy(page + i, &v, sizeof(v));
	}
}

static bool is_page(const uint8_t *page, uint32_t index)
{
	uint8_t want[PAGE_BYTES];

	fill(want, index);
	return memcmp(page, want, PAGE_BYTES) == 0;
}

static bool is_zero(const uint8_t *page)
{
	static const uint8_t zero[PAGE_BYTES];

	return memcmp(page, zero, PAGE_BYTES) == 0;
}

static void put_pages(struct scene *s, uint32_t first, uint32_t n)
{
	uint8_t page[PAGE_BYTES];

	for (uint32_t i = first; i < first + n; i++) {
		fill(page, i);
		assert_int_equal(pager_put(s->pager, VPID,
					 (uintptr_t)s->mem + PAGES_TO_BYTES(i), 1, page),
			0);
	}
}

static void answer_wish(void *ctx, const struct pager_wish *wish)
{
	struct scene *s = ctx;
	uint32_t first = (uint32_t)BYTES_TO_PAGES(wish->addr - (uintptr_t)s->mem);

	for (uint32_t i = 0; i < wish->pages; i++)
		s->asked[first + i]++;
	if (s->answer)
		put_pages(s, first, wish->pages);
}

static int map_registered(struct scene *s, uint64_t features)
{
	int uffd = uffd_open(features);

	if (uffd < 0)
		return uffd;
	s->mem = mmap(NULL, PAGES_TO_BYTES(s->pages), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(s->mem != MAP_FAILED);
	madvise(s->mem, PAGES_TO_BYTES(s->pages), MADV_NOHUGEPAGE);
	assert_int_equal(
		uffd_register_missing(uffd, (uintptr_t)s->mem, PAGES_TO_BYTES(s->pages)), 0);
	return uffd;
}

/* All pages from @lazy_from on are lazy. */
static void expect_pages(struct scene *s, uint32_t lazy_from)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;

	ranges_add(&lazy, (uintptr_t)s->mem + PAGES_TO_BYTES(lazy_from),
		(uintptr_t)s->mem + PAGES_TO_BYTES(s->pages));
	assert_int_equal(pager_expect(s->pager, VPID, &lazy), 0);
}

static void *serve(void *arg)
{
	struct scene *s = arg;
	struct err e = ERR_INIT;

	assert_int_equal(server_run(s->server, &e), 0);
	return NULL;
}

static void on_done(void *ctx)
{
	struct scene *s = ctx;

	eventfd_write(s->done, 1);
}

static void start(struct scene *s)
{
	struct server_config c = {
		.pager = s->pager, .ask = answer_wish, .done = on_done, .ctx = s};
	struct err e = ERR_INIT;

	s->done = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(server_new(&c, &s->server, &e), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void set_up(struct scene *s, size_t pages, uint64_t features)
{
	struct err e = ERR_INIT;
	int uffd;

	*s = (struct scene){.pages = pages, .answer = true};
	assert_int_equal(pager_new(STORE_MAX, &s->pager, &e), 0);
	uffd = map_registered(s, features);
	if (uffd == -EPERM)
		skip();
	assert_true(uffd >= 0);
	expect_pages(s, 0);
	assert_int_equal(pager_add_view(s->pager, VPID, uffd, &e), 0);
}

static void wait_done(struct scene *s)
{
	assert_int_equal(fd_wait(s->done, POLLIN, deadline_in_ms(20000)), 0);
	assert_true(pager_done(s->pager));
	/* The last step of the server gives back what is left. */
	for (int i = 0; i < 500 && pager_stats(s->pager).store_used > 0; i++)
		usleep(10000);
	assert_int_equal(pager_stats(s->pager).store_used, 0);
}

static void stop(struct scene *s)
{
	if (!s->server)
		return;
	server_stop(s->server);
	pthread_join(s->thread, NULL);
	server_free(s->server);
	s->server = NULL;
	fd_close(&s->done);
}

static void tear_down(struct scene *s)
{
	stop(s);
	pager_free(s->pager);
	munmap(s->mem, PAGES_TO_BYTES(s->pages));
}

static void arrived_before_opening_is_installed(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 1500, EVENTS);
	put_pages(&s, 0, 1000);
	assert_int_equal(pager_put(s.pager, VPID, (uintptr_t)s.mem + PAGES_TO_BYTES(1000), 500, NULL),
		0);
	assert_int_equal(pager_stats(s.pager).arrived, 1500);
	put_pages(&s, 0, 10);
	assert_int_equal(pager_stats(s.pager).arrived, 1510);
	assert_true(pager_has_all(s.pager));
	assert_false(pager_done(s.pager));
	pager_open(s.pager);
	start(&s);
	wait_done(&s);
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	for (uint32_t i = 1000; i < 1500; i++)
		assert_true(is_zero(s.mem + PAGES_TO_BYTES(i)));
	assert_int_equal(pager_stats(s.pager).store_used, 0);
	tear_down(&s);
}

/* One chunk of pages may belong to several regions: the kernel doesn't fill over their borders. */
static void regions_side_by_side_are_filled(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 400, EVENTS);
	for (uint32_t i = 50; i < 400; i += 100)
		assert_int_equal(mprotect(s.mem + PAGES_TO_BYTES(i), PAGES_TO_BYTES(1 + i / 9),
					 PROT_READ), 0);
	put_pages(&s, 0, 400);
	pager_open(s.pager);
	start(&s);
	wait_done(&s);
	for (uint32_t i = 0; i < 400; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	tear_down(&s);
}

static void arriving_while_open_goes_straight_in(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 1000, EVENTS);
	pager_open(s.pager);
	start(&s);
	put_pages(&s, 0, 1000);
	wait_done(&s);
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	assert_int_equal(pager_stats(s.pager).store_peak, 0);
	tear_down(&s);
}

static void faults_are_counted_by_when_they_came(void **state)
{
	const uint32_t far = 300; /* from what is asked for with the first */
	struct pager_stats stats;
	uint64_t early = 0, all = 0;
	struct scene s;

	(void)state;
	set_up(&s, 600, EVENTS);
	pager_open(s.pager);
	start(&s);
	assert_true(is_page(s.mem, 0));
	usleep(20000);
	assert_true(is_page(s.mem + PAGES_TO_BYTES(far), far));
	stats = pager_stats(s.pager);
	for (size_t i = 0; i < PAGER_FAULT_TIMES; i++) {
		early += i < 5 ? stats.fault_times[i] : 0; /* within 16 ms */
		all += stats.fault_times[i];
	}
	assert_int_equal(all, stats.faults);
	assert_true(all >= 2);
	assert_true(early < all);
	put_pages(&s, 0, 600);
	wait_done(&s);
	tear_down(&s);
}

static void touched_pages_are_asked_for_once(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 600, EVENTS);
	pager_open(s.pager);
	start(&s);
	for (uint32_t i = 0; i < 600; i++) {
		uint32_t at = i * 7 % 600;

		assert_true(is_page(s.mem + PAGES_TO_BYTES(at), at));
	}
	wait_done(&s);
	for (uint32_t i = 0; i < 600; i++)
		assert_int_equal(s.asked[i], 1);
	assert_true(pager_stats(s.pager).p50_ns > 0);
	tear_down(&s);
}

/* CRIU touches a few pages while it restores, when other regions aren't in place yet. */
static void touched_before_opening_gets_that_page_alone(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 600, EVENTS);
	put_pages(&s, 0, 100);
	start(&s);
	assert_true(is_page(s.mem + PAGES_TO_BYTES(5), 5));
	assert_true(is_page(s.mem + PAGES_TO_BYTES(300), 300));
	assert_int_equal(s.asked[300], 1);
	assert_int_equal(s.asked[301], 0);
	assert_int_equal(pager_stats(s.pager).pending, 598);
	put_pages(&s, 0, 600);
	pager_open(s.pager);
	wait_done(&s);
	for (uint32_t i = 0; i < 600; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	tear_down(&s);
}

static void *touch_first(void *arg)
{
	struct scene *s = arg;

	return (void *)(uintptr_t)is_page(s->mem, 0);
}

static void missing_page_blocks_and_never_reads_as_zero(void **state)
{
	struct scene s;
	pthread_t t;
	void *right = NULL;
	struct timespec soon;

	(void)state;
	set_up(&s, 100, EVENTS);
	s.answer = false;
	pager_open(s.pager);
	start(&s);
	pthread_create(&t, NULL, touch_first, &s);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 1;
	assert_int_equal(pthread_timedjoin_np(t, NULL, &soon), ETIMEDOUT);
	put_pages(&s, 0, 100);
	pthread_join(t, &right);
	assert_non_null(right);
	wait_done(&s);
	tear_down(&s);
}

static void assert_lacks(struct scene *s, const struct range *want, size_t n)
{
	_cleanup_ranges_ struct ranges lacks = RANGES_INIT;
	uint32_t vpid = 0;

	assert_int_equal(pager_lacking(s->pager, 0, &vpid, &lacks), 1);
	assert_int_equal(vpid, VPID);
	assert_int_equal(lacks.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_true(lacks.v[i].start == (uintptr_t)s->mem + PAGES_TO_BYTES(want[i].start));
		assert_true(lacks.v[i].end == (uintptr_t)s->mem + PAGES_TO_BYTES(want[i].end));
	}
	assert_int_equal(pager_lacking(s->pager, VPID, &vpid, &lacks), 0);
}

/* Over several blocks, with pages in the process, in the store, known to be zero, and discarded. */
static void what_is_lacking_can_be_told(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 2000, EVENTS);
	assert_lacks(&s, &(struct range){0, 2000}, 1);
	put_pages(&s, 3, 2);
	assert_int_equal(pager_put(s.pager, VPID, (uintptr_t)s.mem + PAGES_TO_BYTES(7), 1, NULL), 0);
	pager_open(s.pager);
	put_pages(&s, 1000, 500);
	assert_lacks(&s, (struct range[]){{0, 3}, {5, 7}, {8, 1000}, {1500, 2000}}, 4);
	start(&s);
	assert_int_equal(madvise(s.mem + PAGES_TO_BYTES(600), PAGES_TO_BYTES(4), MADV_DONTNEED), 0);
	assert_lacks(&s, (struct range[]){{0, 3}, {5, 7}, {8, 600}, {604, 1000}, {1500, 2000}}, 5);
	put_pages(&s, 0, 1000);
	put_pages(&s, 1500, 500);
	wait_done(&s);
	assert_lacks(&s, NULL, 0);
	tear_down(&s);
}

/* Who was asked is gone: a second wish for the same page, and none for what came meanwhile. */
static void what_is_waited_for_is_asked_for_anew(void **state)
{
	struct pager_wish wishes[8];
	struct pager_stats stats;
	struct scene s;
	pthread_t t;

	(void)state;
	set_up(&s, 64, EVENTS);
	s.answer = false;
	start(&s);
	pager_open(s.pager);
	pthread_create(&t, NULL, touch_first, &s);
	while (pager_stats(s.pager).urgent == 0)
		usleep(1000);
	stop(&s);
	assert_int_equal(s.asked[0], 1);
	assert_int_equal(pager_wishes(s.pager, wishes, 8), 1);
	assert_int_equal(wishes[0].vpid, VPID);
	assert_true(wishes[0].addr == (uintptr_t)s.mem);
	assert_true(wishes[0].pages > 0);
	start(&s);
	put_pages(&s, 0, 64);
	pthread_join(t, NULL);
	assert_int_equal(pager_wishes(s.pager, wishes, 8), 0);
	stats = pager_stats(s.pager);
	assert_int_equal(stats.urgent, 1);
	wait_done(&s);
	tear_down(&s);
}

static void pages_outside_the_lazy_set_read_as_zero(void **state)
{
	struct scene s = {.pages = 20, .answer = true};
	struct err e = ERR_INIT;
	int uffd;

	(void)state;
	assert_int_equal(pager_new(STORE_MAX, &s.pager, &e), 0);
	uffd = map_registered(&s, EVENTS);
	assert_true(uffd >= 0);
	put_pages(&s, 0, 20); /* 0 to 9 turn out not to be wanted */
	expect_pages(&s, 10);
	assert_int_equal(pager_add_view(s.pager, VPID, uffd, &e), 0);
	pager_open(s.pager);
	start(&s);
	/* Touch before it is done: afterwards the kernel alone makes it zero. */
	for (uint32_t i = 0; i < 10; i++)
		assert_true(is_zero(s.mem + PAGES_TO_BYTES(i)));
	wait_done(&s);
	for (uint32_t i = 10; i < 20; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	tear_down(&s);
}

static void last_version_counts_until_installed(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, 10, EVENTS);
	assert_int_equal(pager_put(s.pager, VPID, (uintptr_t)s.mem, 10, NULL), 0);
	put_pages(&s, 0, 10);
	put_pages(&s, 5, 5);
	assert_int_equal(pager_put(s.pager, VPID, (uintptr_t)s.mem, 1, NULL), 0);
	pager_open(s.pager);
	start(&s);
	wait_done(&s);
	assert_true(is_zero(s.mem));
	for (uint32_t i = 1; i < 10; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	tear_down(&s);
}

/* Copied while the process ran, and written since. */
static void what_was_taken_back_is_asked_for(void **state)
{
	struct err e = ERR_INIT;
	struct scene s;
	int uffd;

	(void)state;
	s = (struct scene){.pages = 1200, .answer = true};
	assert_int_equal(pager_new(STORE_MAX, &s.pager, &e), 0);
	uffd = map_registered(&s, EVENTS);
	if (uffd == -EPERM)
		skip();
	for (uint32_t i = 0; i < 1200; i++) {
		uint8_t stale[PAGE_BYTES];

		memset(stale, 0xee, sizeof(stale));
		assert_int_equal(pager_put(s.pager, VPID, (uintptr_t)s.mem + PAGES_TO_BYTES(i), 1,
					 i % 5 ? stale : NULL), 0);
	}
	put_pages(&s, 0, 600);
	assert_int_equal(pager_forget(s.pager, VPID, (uintptr_t)s.mem + PAGES_TO_BYTES(600), 600), 0);
	expect_pages(&s, 0);
	assert_int_equal(pager_forget(s.pager, VPID, (uintptr_t)s.mem, 1), -EINVAL);
	assert_false(pager_has_all(s.pager));
	assert_int_equal(pager_add_view(s.pager, VPID, uffd, &e), 0);
	pager_open(s.pager);
	start(&s);
	for (uint32_t i = 0; i < 1200; i++)
		assert_true(is_page(s.mem + PAGES_TO_BYTES(i), i));
	assert_int_equal(s.asked[599], 0);
	assert_int_equal(s.asked[900], 1);
	wait_done(&s);
	tear_down(&s);
}

static void processes_that_ended_meanwhile_are_dropped(void **state)
{
	struct err e = ERR_INIT;
	struct pager *p;
	uint8_t page[PAGE_BYTES] = {1};

	(void)state;
	assert_int_equal(pager_new(STORE_MAX, &p, &e), 0);
	assert_int_equal(pager_put(p, 99, 0x1000, 1, page), 0);
	assert_true(pager_stats(p).store_used > 0);
	pager_drop_others(p);
	assert_int_equal(pager_stats(p).store_used, 0);
	assert_true(pager_has_all(p));
	pager_free(p);
}

static void discarded_and_moved_memory(void **state)
{
	struct scene s;
	uint8_t *to, *moved;

	(void)state;
	set_up(&s, 300, EVENTS);
	s.answer = true;
	pager_open(s.pager);
	start(&s);
	/* 0..99 discarded before they come: zero for ever. 200..299 move away. */
	assert_int_equal(madvise(s.mem, PAGES_TO_BYTES(100), MADV_DONTNEED), 0);
	to = mmap(NULL, PAGES_TO_BYTES(100), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mremap(s.mem + PAGES_TO_BYTES(200), PAGES_TO_BYTES(100), PAGES_TO_BYTES(100),
		MREMAP_MAYMOVE | MREMAP_FIXED, to);
	assert_ptr_equal(moved, to);
	for (uint32_t i = 0; i < 50; i++) {
		assert_true(is_zero(s.mem + PAGES_TO_BYTES(i)));
		assert_true(is_page(moved + PAGES_TO_BYTES(i), 200 + i));
	}
	put_pages(&s, 0, 300);
	wait_done(&s);
	for (uint32_t i = 0; i < 100; i++) {
		assert_true(is_zero(s.mem + PAGES_TO_BYTES(i)));
		assert_true(is_page(s.mem + PAGES_TO_BYTES(100 + i), 100 + i));
		assert_true(is_page(moved + PAGES_TO_BYTES(i), 200 + i));
	}
	munmap(moved, PAGES_TO_BYTES(100));
	tear_down(&s);
}

struct reader {
	const struct scene *scene;
	uint32_t page;
	pthread_t thread;
};

static void *read_zero(void *arg)
{
	const struct reader *r = arg;

	return (void *)(uintptr_t)is_zero(r->scene->mem + PAGES_TO_BYTES(r->page));
}

/* Until it waits for its page, which has been asked for. */
static void start_reader(struct reader *r, struct scene *s, uint32_t page)
{
	uint64_t before = pager_stats(s->pager).urgent;

	*r = (struct reader){.scene = s, .page = page};
	pthread_create(&r->thread, NULL, read_zero, r);
	while (pager_stats(s->pager).urgent == before)
		usleep(1000);
}

static void assert_zero_soon(const struct reader *r)
{
	struct timespec soon;
	void *zero = NULL;

	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 10;
	assert_int_equal(pthread_timedjoin_np(r->thread, &zero, &soon), 0);
	assert_non_null(zero);
}

/* Whoever waits for a page that another thread discards, or moves away, doesn't wait for what never comes. */
static void what_goes_away_is_waited_for_no_longer(void **state)
{
	struct pager_wish wishes[8];
	struct reader a, b;
	struct scene s;
	uint8_t *to;

	(void)state;
	set_up(&s, 2000, EVENTS);
	s.answer = false;
	pager_open(s.pager);
	start(&s);
	start_reader(&a, &s, 5);
	start_reader(&b, &s, 1500);
	assert_int_equal(madvise(s.mem, PAGES_TO_BYTES(100), MADV_DONTNEED), 0);
	assert_zero_soon(&a);
	assert_int_equal(pager_wishes(s.pager, wishes, 8), 1);
	assert_true(wishes[0].addr == (uintptr_t)s.mem + PAGES_TO_BYTES(1500));
	to = mremap(s.mem + PAGES_TO_BYTES(1400), PAGES_TO_BYTES(200), PAGES_TO_BYTES(200),
		MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	assert_true(to != MAP_FAILED);
	assert_zero_soon(&b);
	put_pages(&s, 0, 2000);
	wait_done(&s);
	assert_int_equal(pager_wishes(s.pager, wishes, 8), 0);
	assert_true(is_page(to + PAGES_TO_BYTES(100), 1500));
	munmap(to, PAGES_TO_BYTES(200));
	tear_down(&s);
}

static void check_in_child(const struct scene *s, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		if (!is_page(s->mem + PAGES_TO_BYTES(i), i))
			_exit(1);
	_exit(0);
}

static void children_get_every_page_too(void **state)
{
	struct scene s;
	pid_t kids[8];

	(void)state;
	set_up(&s, 2000, EVENTS | UFFD_FEATURE_EVENT_FORK);
	put_pages(&s, 0, 300);
	pager_open(s.pager);
	start(&s);
	for (size_t k = 0; k < 8; k++) {
		put_pages(&s, 300 + (uint32_t)k * 100, 100);
		/* Not fork(3): it holds malloc's locks while the kernel waits for our own
		 * thread to read the event. */
		kids[k] = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		assert_true(kids[k] >= 0);
		if (kids[k] == 0)
			check_in_child(&s, s.pages);
	}
	put_pages(&s, 1100, 900);
	for (size_t k = 0; k < 8; k++) {
		int status;

		assert_int_equal(waitpid(kids[k], &status, 0), kids[k]);
		assert_int_equal(status, 0);
	}
	wait_done(&s);
	tear_down(&s);
}

struct forking {
	const struct scene *scene;
	int status;
};

static void *touch_one(void *arg)
{
	const struct scene *s = arg;

	assert_true(is_page(s->mem + PAGES_TO_BYTES(100), 100));
	return NULL;
}

static void *fork_one(void *arg)
{
	struct forking *f = arg;
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		check_in_child(f->scene, 400);
	waitpid(pid, &f->status, 0);
	return NULL;
}

static void *touch_zero(void *arg)
{
	const struct scene *s = arg;

	assert_true(is_zero(s->mem + PAGES_TO_BYTES(400)));
	return NULL;
}

struct beside {
	struct forking forking;
	pthread_t touches, forks;
};

/* A fault and a fork that are read at once: what is installed for the fault can be only after the fork. */
static void begin_beside(struct beside *b, struct scene *s, void *(*touch)(void *))
{
	b->forking = (struct forking){.scene = s, .status = -1};
	pthread_create(&b->touches, NULL, touch, s);
	pthread_create(&b->forks, NULL, fork_one, &b->forking);
	usleep(100000);
	start(s);
}

static void assert_touched_soon(const struct beside *b)
{
	struct timespec soon;

	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 10;
	assert_int_equal(pthread_timedjoin_np(b->touches, NULL, &soon), 0);
}

static void end_beside(const struct beside *b, struct scene *s)
{
	pthread_join(b->forks, NULL);
	assert_int_equal(b->forking.status, 0);
	wait_done(s);
	tear_down(s);
}

static void a_fork_beside_a_fault_misses_nothing(void **state)
{
	struct scene s;
	struct beside b;

	(void)state;
	set_up(&s, 400, EVENTS | UFFD_FEATURE_EVENT_FORK);
	put_pages(&s, 0, 400);
	pager_open(s.pager);
	begin_beside(&b, &s, touch_one);
	assert_touched_soon(&b);
	end_beside(&b, &s);
}

/* Before the opening, too, it is installed as soon as the fork has gone on: CRIU may wait for it. */
static void a_fork_beside_a_fault_before_opening(void **state)
{
	struct scene s;
	struct beside b;

	(void)state;
	set_up(&s, 400, EVENTS | UFFD_FEATURE_EVENT_FORK);
	put_pages(&s, 0, 400);
	begin_beside(&b, &s, touch_one);
	assert_touched_soon(&b);
	pager_open(s.pager);
	end_beside(&b, &s);
}

/* A zero page that a thread waits for can't be left out. */
static void a_fork_beside_a_fault_of_zero(void **state)
{
	(void)state;
	for (int first = 0; first < 2; first++) {
		struct scene s;
		struct beside b;

		set_up(&s, 401, EVENTS | UFFD_FEATURE_EVENT_FORK);
		put_pages(&s, 0, 400);
		assert_int_equal(pager_put(s.pager, VPID, (uintptr_t)s.mem + PAGES_TO_BYTES(400), 1, NULL), 0);
		if (first)
			pager_open(s.pager);
		begin_beside(&b, &s, touch_zero);
		assert_touched_soon(&b);
		if (!first)
			pager_open(s.pager);
		end_beside(&b, &s);
	}
}

static size_t count_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Their pages do not come before they have ended. */
static void children_that_have_ended_hold_nothing(void **state)
{
	struct scene s;
	size_t before;

	(void)state;
	set_up(&s, 2000, EVENTS | UFFD_FEATURE_EVENT_FORK);
	pager_open(s.pager);
	start(&s);
	before = count_descriptors();
	for (size_t k = 0; k < 500; k++) {
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

		if (pid == 0)
			_exit(0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	assert_true(count_descriptors() < before + 150);
	put_pages(&s, 0, 2000);
	wait_done(&s);
	tear_down(&s);
}

static void *raise_limit(void *arg)
{
	const struct rlimit *limit = arg;

	usleep(50000);
	setrlimit(RLIMIT_NOFILE, limit);
	return NULL;
}

/* Who forks waits until there is a descriptor to be had. */
static void no_descriptor_is_no_end(void **state)
{
	struct scene s;
	struct rlimit was, now;
	pthread_t thread;
	pid_t pid;
	int status;

	(void)state;
	set_up(&s, 500, EVENTS | UFFD_FEATURE_EVENT_FORK);
	pager_open(s.pager);
	start(&s);
	getrlimit(RLIMIT_NOFILE, &was);
	now = (struct rlimit){count_descriptors(), was.rlim_max};
	assert_int_equal(pthread_create(&thread, NULL, raise_limit, &was), 0);
	setrlimit(RLIMIT_NOFILE, &now);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		check_in_child(&s, s.pages);
	put_pages(&s, 0, 500);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	wait_done(&s);
	pthread_join(thread, NULL);
	tear_down(&s);
}

static void a_full_store_says_so(void **state)
{
	struct pager *p;
	struct err e = ERR_INIT;
	uint8_t page[PAGE_BYTES] = {1};

	(void)state;
	assert_int_equal(pager_new(BLOCK_BYTES, &p, &e), 0);
	for (uint64_t i = 0; i < BLOCK_PAGES; i++)
		assert_int_equal(pager_put(p, VPID, PAGES_TO_BYTES(10 + i), 1, page), 0);
	assert_int_equal(pager_put(p, VPID, 0x1000, 1, page), -ENOSPC);
	/* Once more the same page, and in place of one that no longer holds. */
	assert_int_equal(pager_put(p, VPID, PAGES_TO_BYTES(20), 1, page), 0);
	assert_int_equal(pager_forget(p, VPID, PAGES_TO_BYTES(30), 1), 0);
	assert_int_equal(pager_put(p, VPID, PAGES_TO_BYTES(30), 1, page), 0);
	assert_int_equal(pager_stats(p).store_used, BLOCK_BYTES);
	assert_int_equal(pager_forget(p, VPID, BLOCK_BYTES, 10), 0);
	assert_int_equal(pager_stats(p).store_used, BLOCK_BYTES - PAGES_TO_BYTES(10));
	assert_int_equal(pager_put(p, VPID, 0x1000, 1, page), 0);
	pager_free(p);
}

/* A server with many processes, each with a page here and there. */
static void sparse_blocks_take_what_they_have(void **state)
{
	struct pager *p;
	struct err e = ERR_INIT;
	uint8_t page[PAGE_BYTES] = {1};

	(void)state;
	assert_int_equal(pager_new(STORE_MAX, &p, &e), 0);
	for (int again = 0; again < 2; again++) {
		for (uint32_t vpid = 1; vpid <= 60; vpid++)
			for (uint64_t block = 0; block < 7; block++)
				assert_int_equal(pager_put(p, vpid, block * BLOCK_BYTES, 1, page), 0);
		assert_int_equal(pager_stats(p).store_used, PAGES_TO_BYTES(60 * 7));
		for (uint32_t vpid = 1; vpid <= 60; vpid++)
			for (uint64_t block = 0; block < 7; block++)
				assert_int_equal(pager_forget(p, vpid, block * BLOCK_BYTES, 1), 0);
		assert_int_equal(pager_stats(p).store_used, 0);
	}
	/* There is an end of that. */
	for (uint32_t vpid = 1; vpid <= 512; vpid++)
		assert_int_equal(pager_put(p, vpid, 0, 1, page), 0);
	assert_int_equal(pager_put(p, 513, 0, 1, page), -ENOSPC);
	pager_free(p);
}

static void views_follow_remaps(void **state)
{
	struct view v = VIEW_INIT;
	uint64_t at;

	(void)state;
	assert_int_equal(view_add(&v, 0x10000, 0x20000), 0);
	assert_int_equal(v.n_pending, 16);
	assert_int_equal(view_move(&v, 0x14000, 0x50000, 0x4000), 0);
	assert_true(view_original(&v, 0x51000, &at));
	assert_true(at == 0x15000);
	assert_false(view_original(&v, 0x15000, &at));
	assert_int_equal(view_current(&v, 0x13000, 8, &at), 1);
	assert_int_equal(view_current(&v, 0x14000, 8, &at), 4);
	assert_true(at == 0x50000);
	assert_int_equal(view_drop(&v, 0x52000, 0x60000), 0);
	assert_int_equal(v.n_pending, 14);
	assert_int_equal(view_current(&v, 0x16000, 1, &at), 0);
	/* Moving onto a lazy page ends that page. */
	assert_int_equal(view_move(&v, 0x50000, 0x10000, 0x2000), 0);
	assert_int_equal(v.n_pending, 12);
	assert_true(view_original(&v, 0x10000, &at));
	assert_true(at == 0x14000);
	view_done(&v);
}

/* Messages of a few bytes about addresses that nobody has must not take memory without end. */
static void what_nobody_expects_is_bounded(void **state)
{
	struct pager *p;
	struct err e = ERR_INIT;
	unsigned n = 0;

	(void)state;
	assert_int_equal(pager_new(BLOCK_BYTES, &p, &e), 0);
	while (n < 100 && pager_put(p, 7, n * (PAGES_TO_BYTES(1) << 20), 1 << 20, NULL) == 0)
		n++;
	assert_in_range(n, 10, 20);
	pager_free(p);
	assert_int_equal(pager_new(BLOCK_BYTES, &p, &e), 0);
	for (n = 0; n < 100000 && pager_put(p, n, 0, 1, NULL) == 0; n++)
		;
	assert_in_range(n, 20000, 30000);
	pager_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_nobody_expects_is_bounded),
		cmocka_unit_test(arrived_before_opening_is_installed),
		cmocka_unit_test(regions_side_by_side_are_filled),
		cmocka_unit_test(arriving_while_open_goes_straight_in),
		cmocka_unit_test(faults_are_counted_by_when_they_came),
		cmocka_unit_test(touched_pages_are_asked_for_once),
		cmocka_unit_test(touched_before_opening_gets_that_page_alone),
		cmocka_unit_test(missing_page_blocks_and_never_reads_as_zero),
		cmocka_unit_test(what_is_lacking_can_be_told),
		cmocka_unit_test(what_is_waited_for_is_asked_for_anew),
		cmocka_unit_test(pages_outside_the_lazy_set_read_as_zero),
		cmocka_unit_test(last_version_counts_until_installed),
		cmocka_unit_test(what_was_taken_back_is_asked_for),
		cmocka_unit_test(processes_that_ended_meanwhile_are_dropped),
		cmocka_unit_test(discarded_and_moved_memory),
		cmocka_unit_test(what_goes_away_is_waited_for_no_longer),
		cmocka_unit_test(children_get_every_page_too),
		cmocka_unit_test(a_fork_beside_a_fault_misses_nothing),
		cmocka_unit_test(a_fork_beside_a_fault_before_opening),
		cmocka_unit_test(a_fork_beside_a_fault_of_zero),
		cmocka_unit_test(children_that_have_ended_hold_nothing),
		cmocka_unit_test(no_descriptor_is_no_end),
		cmocka_unit_test(a_full_store_says_so),
		cmocka_unit_test(sparse_blocks_take_what_they_have),
		cmocka_unit_test(views_follow_remaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
