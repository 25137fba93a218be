/* SPDX-License-Identifier: Apache-2.0 */
/* The library that is preloaded into CRIU, as part of this program: what it opens and asks the
 * kernel for goes the same way as CRIU's. */
#define VIEW_DIR "view" /* in the scratch directory, where the tests run */
#include "criu/view_preload.c"

#include "unit.h"

#include "base/file.h"
#include "kernel/pagemap.h"

#include <sys/mman.h>

#define PAGES 64

static char *dir;
static uint8_t *memory;
static uint64_t base;

static int enter(void **state)
{
	(void)state;
	dir = scratch_make();
	memory = mmap(NULL, PAGES_TO_BYTES(PAGES), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
	base = (uintptr_t)memory;
	/* The last one isn't there. */
	memset(memory, 1, PAGES_TO_BYTES(PAGES - 1));
	return chdir(dir) < 0 || mkdir(VIEW_DIR, 0700) < 0;
}

static int leave(void **state)
{
	(void)state;
	munmap(memory, PAGES_TO_BYTES(PAGES));
	if (chdir("/") < 0)
		return -1;
	scratch_remove(dir);
	return 0;
}

/* Pages [from, to) of ours aren't to be seen. */
static void spare(size_t from, size_t to)
{
	struct view_span span = {base + PAGES_TO_BYTES(from), base + PAGES_TO_BYTES(to)};
	char path[64];

	snprintf(path, sizeof(path), VIEW_FILE, getpid(), VIEW_SPARED);
	assert_int_equal(file_write_atomic(path, &span, sizeof(span), 0600), 0);
	spared.pid = 0; /* the library reads it once a process */
}

/* Which of our pages a scan in pieces of at most @regions tells; -1: the kernel has no such call. */
static int count_seen(uint64_t anyof, uint64_t regions, bool seen[static PAGES])
{
	int fd = pagemap_open(getpid()), n = 0;
	uint64_t at = base, end = base + PAGES_TO_BYTES(PAGES);

	memset(seen, 0, PAGES * sizeof(seen[0]));
	while (at < end) {
		struct gw_page_region v[4];
		struct gw_pm_scan_arg arg = {.size = sizeof(arg), .start = at, .end = end,
			.vec = (uintptr_t)v, .vec_len = regions, .category_anyof_mask = anyof,
			.return_mask = GW_PAGE_IS_PRESENT};
		int found = ioctl(fd, GW_PAGEMAP_SCAN, &arg);

		if (found < 0)
			n = -1;
		if (found < 0)
			break;
		for (int i = 0; i < found; i++)
			for (uint64_t p = v[i].start; p < v[i].end; p += PAGE_BYTES, n++)
				seen[BYTES_TO_PAGES(p - base)] = true;
		assert_true(arg.walk_end > at);
		at = arg.walk_end;
	}
	close(fd);
	return n;
}

static void spared_pages_are_not_listed(void **state)
{
	bool seen[PAGES];

	(void)state;
	spare(10, 20);
	for (uint64_t regions = 1; regions <= 4; regions++) {
		int n = count_seen(GW_PAGE_IS_PRESENT | GW_PAGE_IS_SWAPPED, regions, seen);

		if (n < 0)
			skip(); /* before Linux 6.7 CRIU asks in another way, and sees all */
		assert_int_equal(n, PAGES - 1 - 10);
		assert_true(seen[9] && !seen[10] && !seen[19] && seen[20] && !seen[PAGES - 1]);
	}
}

static void at_the_ends_nothing_is_lost(void **state)
{
	bool seen[PAGES];
	int n;

	(void)state;
	spare(0, 5);
	n = count_seen(GW_PAGE_IS_PRESENT | GW_PAGE_IS_SWAPPED, 4, seen);
	if (n < 0)
		skip();
	assert_int_equal(n, PAGES - 1 - 5);
	spare(60, PAGES + 100);
	assert_int_equal(count_seen(GW_PAGE_IS_PRESENT | GW_PAGE_IS_SWAPPED, 4, seen), 60);
	spare(0, PAGES);
	assert_int_equal(count_seen(GW_PAGE_IS_PRESENT | GW_PAGE_IS_SWAPPED, 4, seen), 0);
}

static void other_questions_are_answered_by_the_kernel(void **state)
{
	bool seen[PAGES];
	int n, fds[2];

	(void)state;
	spare(10, 20);
	n = count_seen(GW_PAGE_IS_PRESENT, 4, seen);
	if (n < 0)
		skip();
	assert_int_equal(n, PAGES - 1);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	assert_int_equal(ioctl(fds[0], FIONREAD, &n), 0);
	assert_int_equal(n, 3);
	close(fds[0]);
	close(fds[1]);
}

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

static void guard_pages_are_found(void **state)
{
	int fd = pagemap_open(getpid());
	uint64_t end = base + PAGES_TO_BYTES(PAGES);
	bool has_them, tells;

	(void)state;
	assert_int_equal(pagemap_has_guard(fd, base, end), 0);
	has_them = madvise(memory + PAGES_TO_BYTES(7), PAGE_BYTES, MADV_GUARD_INSTALL) == 0;
	tells = has_them && pagemap_has_guard(fd, base, end) == 1;
	if (tells) {
		assert_int_equal(pagemap_has_guard(fd, base, base + PAGES_TO_BYTES(7)), 0);
		assert_int_equal(pagemap_has_guard(fd, base + PAGES_TO_BYTES(7), end), 1);
		assert_int_equal(pagemap_has_guard(fd, base + PAGES_TO_BYTES(8), end), 0);
	}
	close(fd);
	if (!tells)
		skip(); /* before Linux 6.15 */
}

static void smaps_says_what_it_shall(void **state)
{
	char path[64], text[20] = "";
	int proc, fd;

	(void)state;
	snprintf(path, sizeof(path), "/proc/%d", getpid());
	proc = open(path, O_PATH | O_DIRECTORY);
	fd = openat64(proc, "smaps", O_RDONLY);
	assert_true(read(fd, text, 15) == 15 && strchr(text, '-'));
	close(fd);
	snprintf(path, sizeof(path), VIEW_FILE, getpid(), VIEW_SMAPS);
	assert_int_equal(file_write_atomic(path, "what it says", 12, 0600), 0);
	fd = openat64(proc, "smaps", O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 12);
	assert_memory_equal(text, "what it says", 12);
	close(fd);
	fd = openat64(AT_FDCWD, "made", O_CREAT | O_WRONLY, 0640);
	assert_true(fd >= 0);
	close(fd);
	close(proc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spared_pages_are_not_listed),
		cmocka_unit_test(at_the_ends_nothing_is_lost),
		cmocka_unit_test(other_questions_are_answered_by_the_kernel),
		cmocka_unit_test(smaps_says_what_it_shall),
		cmocka_unit_test(guard_pages_are_found), /* last: it changes them */
	};

	return cmocka_run_group_tests(tests, enter, leave);
}
