/* SPDX-License-Identifier: Apache-2.0 */
/* A child process does what it is told with its memory, and the tracker must see it. */
#include "tracking.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGES 512 /* as many as a page table has: they can be moved at once */
#define REGION PAGES_TO_BYTES(PAGES)
#define ROUNDS 200
#define IDLE 500

enum order { WRITE_PAGE, MAP_OTHER, MAP_BEHIND, MOVE, MOVE_BOTH, DISCARD, PAGE_OUT, REFILL, READ_PAGE, FORK, FORK_AS,
	SHARE, EXEC, OPEN_DIRECT, KEEP_WRITING };

struct child {
	pid_t pid;
	int orders[2], answers[2];
	uint64_t base; /* of its region */
};

struct command {
	enum order order;
	uint64_t argument; /* an address, a pid or an madvise(2) */
};

static uint8_t *region;

/* A region of its own, whose start a page table begins with; with room for as much behind it. */
static uint8_t *map_filled(int advice)
{
	uint8_t *room = mmap(NULL, 3 * REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *p = room + REGION - (uintptr_t)room % REGION;

	munmap(p, REGION);
	mmap(p, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	madvise(p, REGION, advice);
	memset(p, 1, REGION);
	return p;
}

__attribute__((noreturn)) static int wait_for_death(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* -1 with errno, as fork(2). */
static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
	pid_t r = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (r == 0)
		wait_for_death(NULL);
	return r;
}

static pid_t fork_sharing(void)
{
	static uint8_t stack[65536];

	return clone(wait_for_death, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
}

/* Not so fast that what is missed once were soon written again. */
__attribute__((noreturn)) static void keep_writing(void)
{
	for (uint32_t x = 1;; x = x * 1664525 + 1013904223) {
		region[PAGES_TO_BYTES(x >> 16) % REGION] = (uint8_t)(x >> 8);
		for (volatile int i = 0; i < IDLE; i++)
			;
	}
}

/* Returns what the parent wants to know: an address or a pid. */
static uint64_t obey(const struct command *c)
{
	volatile uint8_t *page = (uint8_t *)(uintptr_t)c->argument; /* NOLINT */
	pid_t pid;

	switch (c->order) {
	case WRITE_PAGE:
		(*page)++;
		return 0;
	case READ_PAGE:
		return *page;
	case MAP_OTHER:
		return (uintptr_t)map_filled((int)c->argument);
	case MAP_BEHIND:
		page = mmap(region + REGION, REGION, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		return madvise((void *)page, REGION, MADV_NOHUGEPAGE) == 0 ? (uintptr_t)page : 0;
	case MOVE_BOTH:
		return (uintptr_t)mremap(region, 2 * REGION, 2 * REGION, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	case MOVE:
		return (uintptr_t)mremap((void *)page, REGION, REGION, MREMAP_MAYMOVE | MREMAP_FIXED,
			region);
	case DISCARD:
		return (uint64_t)madvise((void *)page, REGION, MADV_DONTNEED);
	case PAGE_OUT:
		return (uint64_t)madvise((void *)page, REGION, MADV_PAGEOUT);
	case REFILL:
		memset(region, 2, REGION);
		return 0;
	case FORK:
		pid = fork();
		if (pid == 0)
			wait_for_death(NULL);
		return (uint64_t)pid;
	case FORK_AS:
		waitpid((pid_t)c->argument, NULL, 0);
		return (uint64_t)fork_as((pid_t)c->argument);
	case SHARE:
		return (uint64_t)fork_sharing();
	case OPEN_DIRECT:
		return (uint64_t)open("/proc/self/exe", O_RDONLY | O_DIRECT | O_CLOEXEC);
	case EXEC:
		execlp("sleep", "sleep", "30", NULL);
		return 0;
	case KEEP_WRITING:
		keep_writing();
	}
	return 0;
}

static void child_main(struct child *c)
{
	struct command command;
	uint64_t answer = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	region = map_filled(MADV_NOHUGEPAGE);
	answer = (uintptr_t)region;
	while (write(c->answers[1], &answer, sizeof(answer)) > 0 &&
		read(c->orders[0], &command, sizeof(command)) > 0)
		answer = obey(&command);
	_exit(0);
}

static uint64_t take_answer(struct child *c)
{
	uint64_t v;

	assert_int_equal(read(c->answers[0], &v, sizeof(v)), sizeof(v));
	return v;
}

static uint64_t tell(struct child *c, enum order order, uint64_t argument)
{
	struct command command = {order, argument};

	assert_int_equal(write(c->orders[1], &command, sizeof(command)), sizeof(command));
	return order == EXEC || order == KEEP_WRITING ? 0 : take_answer(c);
}

struct scene {
	struct child child;
	struct tracker *tracker;
	struct tracker_scan scan;
};

/* The backend that is tested. */
static const char *backend;

static void scan(struct scene *s, const pid_t *pids, size_t n, bool last)
{
	struct err e = ERR_INIT;

	tracker_scan_done(&s->scan);
	assert_int_equal(tracker_scan(s->tracker, pids, n, last, &s->scan, &e), 0);
}

static void look_at(struct scene *s, const pid_t *pids, size_t n, bool last)
{
	scan(s, pids, n, last);
	assert_int_equal(s->scan.n, n);
}

/* What the child has written now. It waits for orders, mostly, so it needs no stop. */
static const struct ranges *look(struct scene *s)
{
	look_at(s, &s->child.pid, 1, false);
	return &s->scan.v[0].written;
}

static bool has_all(const struct scene *s, size_t process, uint64_t start)
{
	return ranges_contain(&s->scan.v[process].written, start, start + REGION);
}

static uint64_t page_at(const struct scene *s, uint32_t page)
{
	return s->child.base + PAGES_TO_BYTES(page);
}

static bool is_written(const struct scene *s, uint32_t page)
{
	return ranges_find(&s->scan.v[0].written, page_at(s, page)) != NULL;
}

static void set_up(struct scene *s)
{
	*s = (struct scene){0};
	assert_int_equal(pipe(s->child.orders), 0);
	assert_int_equal(pipe(s->child.answers), 0);
	s->child.pid = fork();
	if (s->child.pid == 0)
		child_main(&s->child);
	s->child.base = take_answer(&s->child);
	s->tracker = track(backend, s->child.pid, &s->scan);
	assert_true(has_all(s, 0, s->child.base));
	look(s);
	assert_false(is_written(s, 5));
}

static void tear_down(struct scene *s)
{
	tracker_scan_done(&s->scan);
	tracker_free(s->tracker);
	kill(s->child.pid, SIGKILL);
	waitpid(s->child.pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(s->child.orders[i]);
		close(s->child.answers[i]);
	}
}

static void written_pages_are_reported_once(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	tell(&s.child, WRITE_PAGE, page_at(&s, 5));
	tell(&s.child, READ_PAGE, page_at(&s, 9));
	look(&s);
	assert_true(is_written(&s, 5));
	assert_false(is_written(&s, 4));
	assert_false(is_written(&s, 9));
	look(&s);
	assert_false(is_written(&s, 5));
	tell(&s.child, WRITE_PAGE, page_at(&s, 5));
	look(&s);
	assert_true(is_written(&s, 5));
	tear_down(&s);
}

static void new_regions_are_reported_whole(void **state)
{
	struct scene s;
	uint64_t other;

	(void)state;
	set_up(&s);
	other = tell(&s.child, MAP_OTHER, MADV_NOHUGEPAGE);
	look(&s);
	assert_true(has_all(&s, 0, other));
	look(&s);
	assert_null(ranges_find(&s.scan.v[0].written, other));
	tear_down(&s);
}

/* Two neighbours are one region again before the next scan, which reports all of the new one. */
static void neighbours_are_joined_between_scans(void **state)
{
	struct scene s;
	uint64_t behind;

	(void)state;
	set_up(&s);
	behind = tell(&s.child, MAP_BEHIND, 0);
	assert_int_equal(behind, s.child.base + REGION);
	/* Without registration nothing is apart, and what has a new part counts as soft-dirty. */
	if (!tracker_needs_stop(s.tracker))
		assert_int_equal(tell(&s.child, MOVE_BOTH, 0), (uintptr_t)MAP_FAILED);
	tracker_join(s.tracker);
	tell(&s.child, WRITE_PAGE, behind);
	look(&s);
	assert_non_null(ranges_find(&s.scan.v[0].written, behind));
	if (!tracker_needs_stop(s.tracker))
		assert_false(is_written(&s, 5));
	look(&s);
	assert_null(ranges_find(&s.scan.v[0].written, behind));
	assert_int_not_equal(tell(&s.child, MOVE_BOTH, 0), (uintptr_t)MAP_FAILED);
	tear_down(&s);
}

/* The moved pages are marked, and go to where others were that are marked as well. */
static void what_is_moved_onto_known_addresses_is_reported(void **state)
{
	struct scene s;
	uint64_t other;

	(void)state;
	set_up(&s);
	other = tell(&s.child, MAP_OTHER, MADV_NOHUGEPAGE);
	look(&s);
	assert_true(tell(&s.child, MOVE, other) == s.child.base);
	look(&s);
	assert_true(has_all(&s, 0, s.child.base));
	tear_down(&s);
}

static void discarded_pages_come_back_as_written(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	assert_int_equal(tell(&s.child, DISCARD, s.child.base), 0);
	look(&s);
	assert_false(is_written(&s, 7)); /* nothing is there */
	tell(&s.child, READ_PAGE, page_at(&s, 3));
	tell(&s.child, WRITE_PAGE, page_at(&s, 7));
	look(&s);
	assert_true(is_written(&s, 7));
	/* The zero page, read where something else was before. */
	assert_true(is_written(&s, 3));
	tell(&s.child, REFILL, 0);
	look(&s);
	assert_true(has_all(&s, 0, s.child.base));
	tear_down(&s);
}

/* How many pages of the child's region are in swap. */
static size_t count_swapped(const struct scene *s)
{
	uint64_t entries[PAGES];
	char path[64];
	size_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", s->child.pid);
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, entries, sizeof(entries), (off_t)(s->child.base / 512)),
		sizeof(entries));
	close(fd);
	for (size_t i = 0; i < PAGES; i++)
		n += entries[i] >> 62 & 1;
	return n;
}

/* Only where there is swap: the guests of tests/vm have some. */
static void pages_in_swap_keep_their_marks(void **state)
{
	static uint8_t page[PAGE_BYTES];
	struct scene s;

	(void)state;
	set_up(&s);
	assert_int_equal(tell(&s.child, PAGE_OUT, s.child.base), 0);
	if (count_swapped(&s) == 0) {
		tear_down(&s);
		skip();
	}
	assert_true(count_swapped(&s) > PAGES / 2);
	look(&s);
	/* By soft-dirty bits a page that has moved counts as written, by marks it doesn't. */
	if (strcmp(tracker_backend(s.tracker), "write-protect") == 0)
		assert_false(is_written(&s, 5) || is_written(&s, PAGES / 2));
	look(&s);
	assert_false(is_written(&s, 5));
	tell(&s.child, WRITE_PAGE, page_at(&s, 5));
	look(&s);
	assert_true(is_written(&s, 5));
	assert_int_equal(process_read(s.scan.v[0].process, page_at(&s, 9), 1, page), 0);
	assert_true(page[0] == 1 && page[PAGE_BYTES - 1] == 1);
	tear_down(&s);
}

static void a_discarded_huge_page_that_is_read_is_reported(void **state)
{
	struct scene s;
	uint64_t huge;

	(void)state;
	set_up(&s);
	huge = tell(&s.child, MAP_OTHER, MADV_HUGEPAGE);
	look(&s);
	look(&s);
	assert_null(ranges_find(&s.scan.v[0].written, huge));
	assert_int_equal(tell(&s.child, DISCARD, huge), 0);
	assert_int_equal(tell(&s.child, READ_PAGE, huge), 0);
	look(&s);
	assert_non_null(ranges_find(&s.scan.v[0].written, huge));
	tear_down(&s);
}

static void children_are_new_processes(void **state)
{
	struct scene s;
	pid_t both[2];

	(void)state;
	set_up(&s);
	both[0] = s.child.pid;
	both[1] = (pid_t)tell(&s.child, FORK, 0);
	look_at(&s, both, 2, false);
	assert_true(has_all(&s, 1, s.child.base));
	/* The parent's pages are shared with it now, and were not written. */
	assert_false(is_written(&s, 5));
	tell(&s.child, WRITE_PAGE, page_at(&s, 5));
	look_at(&s, both, 2, false);
	assert_true(is_written(&s, 5));
	assert_null(ranges_find(&s.scan.v[1].written, page_at(&s, 5)));
	kill(both[1], SIGKILL);
	tear_down(&s);
}

/* It inherits its parent's marks, at the same addresses as the one before it. */
static void a_process_with_the_pid_of_another_is_new(void **state)
{
	struct scene s;
	pid_t both[2];

	(void)state;
	set_up(&s);
	both[0] = s.child.pid;
	both[1] = (pid_t)tell(&s.child, FORK, 0);
	look_at(&s, both, 2, false);
	look_at(&s, both, 2, false);
	assert_null(ranges_find(&s.scan.v[1].written, page_at(&s, 5)));
	kill(both[1], SIGKILL);
	if ((pid_t)tell(&s.child, FORK_AS, (uint64_t)both[1]) == both[1]) {
		look_at(&s, both, 2, false);
		assert_true(has_all(&s, 1, s.child.base));
		kill(both[1], SIGKILL);
	} else {
		assert_true(geteuid() != 0);
	}
	tear_down(&s);
}

static void what_two_processes_share_is_reported_of_both(void **state)
{
	struct scene s;
	struct err e = ERR_INIT;
	pid_t both[2];

	(void)state;
	set_up(&s);
	both[0] = s.child.pid;
	both[1] = (pid_t)tell(&s.child, SHARE, 0);
	tell(&s.child, WRITE_PAGE, page_at(&s, 5));
	/* The other one has nothing of its own yet. */
	tracker_scan_done(&s.scan);
	assert_int_equal(tracker_scan(s.tracker, both, 2, false, &s.scan, &e), 0);
	assert_int_equal(s.scan.n, 1);
	assert_true(is_written(&s, 5));
	tell(&s.child, WRITE_PAGE, page_at(&s, 6));
	look_at(&s, both, 2, true);
	assert_true(is_written(&s, 6));
	assert_non_null(ranges_find(&s.scan.v[1].written, page_at(&s, 5)));
	kill(both[1], SIGKILL);
	tear_down(&s);
}

static void stop(const struct scene *s)
{
	int status;

	kill(s->child.pid, SIGSTOP);
	assert_int_equal(waitpid(s->child.pid, &status, WUNTRACED), s->child.pid);
	assert_true(WIFSTOPPED(status));
}

static void copy_written(const struct scene *s, uint8_t *copy)
{
	const struct tracked *t = &s->scan.v[0];

	for (size_t i = 0; i < t->written.n; i++)
		for (uint64_t a = t->written.v[i].start; a < t->written.v[i].end; a += PAGE_BYTES)
			if (a >= s->child.base && a < s->child.base + REGION)
				assert_int_equal(
					process_read(t->process, a, 1, copy + (a - s->child.base)), 0);
}

static void nothing_is_missed_of_what_is_written_all_the_time(void **state)
{
	uint8_t *copy = calloc(1, REGION), *truth = calloc(1, REGION);
	struct scene s;

	(void)state;
	set_up(&s);
	memset(copy, 1, REGION);
	tell(&s.child, KEEP_WRITING, 0);
	for (int i = 0; i < ROUNDS; i++) {
		if (tracker_needs_stop(s.tracker))
			stop(&s);
		look(&s);
		kill(s.child.pid, SIGCONT);
		copy_written(&s, copy);
		stop(&s);
		look_at(&s, &s.child.pid, 1, true);
		copy_written(&s, copy);
		assert_int_equal(process_read(s.scan.v[0].process, s.child.base, PAGES, truth), 0);
		assert_memory_equal(copy, truth, REGION);
		kill(s.child.pid, SIGCONT);
	}
	free(copy);
	free(truth);
	tear_down(&s);
}

static void direct_io_makes_all_count_as_written(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	assert_true((int)tell(&s.child, OPEN_DIRECT, 0) >= 0);
	look(&s);
	assert_true(s.scan.v[0].untracked);
	assert_true(has_all(&s, 0, s.child.base));
	tear_down(&s);
}

static void exec_is_another_address_space(void **state)
{
	struct scene s;
	uint64_t before;

	(void)state;
	set_up(&s);
	before = s.scan.pages;
	tell(&s.child, EXEC, 0);
	/* Until the new program has come as far as its main(). On the way it may not be there to be looked at. */
	for (int i = 0; i < 200 && s.scan.pages <= before; i++) {
		usleep(5000);
		scan(&s, &s.child.pid, 1, false);
	}
	assert_true(s.scan.pages > 0);
	for (size_t i = 0; i < s.scan.v[0].written.n; i++)
		assert_false(s.scan.v[0].written.v[i].start == s.child.base);
	tear_down(&s);
}

static void the_last_scan_attaches_to_nobody(void **state)
{
	struct scene s;
	pid_t both[2];

	(void)state;
	set_up(&s);
	both[0] = s.child.pid;
	both[1] = (pid_t)tell(&s.child, FORK, 0);
	tell(&s.child, WRITE_PAGE, page_at(&s, 5));
	kill(both[0], SIGSTOP);
	kill(both[1], SIGSTOP);
	look_at(&s, both, 2, true);
	assert_true(is_written(&s, 5));
	assert_false(is_written(&s, 6));
	assert_true(has_all(&s, 1, s.child.base));
	kill(both[1], SIGKILL);
	tear_down(&s);
}

static void a_process_that_has_ended_is_left_out(void **state)
{
	struct scene s;
	struct err e = ERR_INIT;

	(void)state;
	set_up(&s);
	kill(s.child.pid, SIGKILL);
	waitpid(s.child.pid, NULL, 0);
	tracker_scan_done(&s.scan);
	assert_int_equal(tracker_scan(s.tracker, &s.child.pid, 1, false, &s.scan, &e), 0);
	assert_int_equal(s.scan.n, 0);
	tear_down(&s);
}

static int test_backend(const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_pages_are_reported_once),
		cmocka_unit_test(new_regions_are_reported_whole),
		cmocka_unit_test(neighbours_are_joined_between_scans),
		cmocka_unit_test(what_is_moved_onto_known_addresses_is_reported),
		cmocka_unit_test(discarded_pages_come_back_as_written),
		cmocka_unit_test(pages_in_swap_keep_their_marks),
		cmocka_unit_test(a_discarded_huge_page_that_is_read_is_reported),
		cmocka_unit_test(children_are_new_processes),
		cmocka_unit_test(a_process_with_the_pid_of_another_is_new),
		cmocka_unit_test(what_two_processes_share_is_reported_of_both),
		cmocka_unit_test(direct_io_makes_all_count_as_written),
		cmocka_unit_test(exec_is_another_address_space),
		cmocka_unit_test(nothing_is_missed_of_what_is_written_all_the_time),
		cmocka_unit_test(the_last_scan_attaches_to_nobody),
		cmocka_unit_test(a_process_that_has_ended_is_left_out),
	};

	backend = name;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

/* Without arguments every backend; those that this kernel lacks are skipped. With names, those, and
 * they must work. */
int main(int argc, char **argv)
{
	static const char *const all[] = {"write-protect", "soft-dirty"};
	struct tracker *t = NULL;
	struct err e = ERR_INIT;
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		if (tracker_new(argv[i], &t, &e) < 0) {
			printf("not ok - %s\n", e.text);
			return 1;
		}
		tracker_free(t);
		failed += test_backend(argv[i]);
	}
	for (size_t i = 0; argc == 1 && i < sizeof(all) / sizeof(all[0]); i++) {
		if (tracker_new(all[i], &t, &e) == 0)
			failed += test_backend(all[i]);
		else
			printf("ok # SKIP %s\n", e.text);
		tracker_free(t);
		t = NULL;
	}
	return failed;
}
