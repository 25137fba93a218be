/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "kernel/uffd.h"
#include "mem/keeper_impl.h"
#include "mem/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define VPID 7
#define PAGES 600u
#define SOON deadline_in_ms(20000)
#define A_WHILE 700 /* ms: what waits until then waits */

/* A "container": a process whose memory is registered, and which says what it finds in a page. */
struct scene {
	uint8_t *mem; /* its address, there */
	pid_t pid;
	int pidfd, talk, uffd, heard; /* @heard: what the keeper's functions say */
	int say;
	struct keeper *keeper;
	int keeper_pidfd;
};

static void fill(uint8_t *page, uint32_t index)
{
	for (size_t i = 0; i < PAGE_BYTES; i += sizeof(uint32_t)) {
		uint32_t v = index * 2654435761u + (uint32_t)i + 1;

		memcpy(page + i, &v, sizeof(v));
	}
}

/* 'y': its contents; 'z': zeros; 'n': something else. */
static char judge(const uint8_t *page, uint32_t index)
{
	static const uint8_t zero[PAGE_BYTES];
	uint8_t want[PAGE_BYTES];

	fill(want, index);
	if (memcmp(page, want, PAGE_BYTES) == 0)
		return 'y';
	return memcmp(page, zero, PAGE_BYTES) == 0 ? 'z' : 'n';
}

__attribute__((noreturn)) static void container_main(int talk, uint8_t *mem)
{
	uint32_t i;
	int uffd = uffd_open(UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP);

	if (uffd < 0 || uffd_register_missing(uffd, (uintptr_t)mem, PAGES_TO_BYTES(PAGES)) < 0)
		_exit(1);
	fd_send(talk, "u", 1, &uffd, 1);
	close(uffd);
	while (read(talk, &i, sizeof(i)) == sizeof(i)) {
		char c = judge(mem + PAGES_TO_BYTES(i), i);

		if (write(talk, &c, 1) != 1)
			break;
	}
	_exit(0);
}

static void start_container(struct scene *s)
{
	int ends[2];
	size_t n = 1;
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	s->mem = mmap(NULL, PAGES_TO_BYTES(PAGES), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(s->mem != MAP_FAILED);
	madvise(s->mem, PAGES_TO_BYTES(PAGES), MADV_NOHUGEPAGE);
	s->pid = fork();
	if (s->pid == 0)
		container_main(ends[1], s->mem);
	close(ends[1]);
	s->talk = ends[0];
	s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
	if (fd_recv(s->talk, &c, 1, &s->uffd, &n) != 1)
		skip(); /* may not use userfaultfd */
	assert_int_equal(n, 1);
}

static void ask_page(const struct scene *s, uint32_t i)
{
	assert_int_equal(write(s->talk, &i, sizeof(i)), sizeof(i));
}

/* What it found; 0: it waits. */
static char found(const struct scene *s, int ms)
{
	char c;

	if (fd_wait(s->talk, POLLIN, deadline_in_ms((uint64_t)ms)) < 0)
		return 0;
	return read(s->talk, &c, 1) == 1 ? c : '-';
}

static void put_page(struct keeper_line *l, const struct scene *s, uint32_t i)
{
	void *room;

	assert_int_equal(keeper_room(l, &room), 0);
	fill(room, i);
	assert_int_equal(keeper_put(l, VPID, (uintptr_t)s->mem + PAGES_TO_BYTES(i), 1, room), 0);
}

static void put_pages(struct keeper_line *l, const struct scene *s, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++)
		put_page(l, s, i);
	assert_int_equal(keeper_flush(l), 0);
}

/* --- what the keeper calls --- */

static void hear(const struct scene *s, char c)
{
	if (write(s->say, &c, 1) != 1)
		_exit(9);
}

static void alone(void *ctx)
{
	hear(ctx, 'a');
}

static void over(void *ctx, bool ran)
{
	hear(ctx, ran ? 'o' : '?');
}

static void never(void *ctx)
{
	hear(ctx, 'n');
}

static void lost(void *ctx)
{
	hear(ctx, 'l');
}

/* 0: nothing. */
static char heard(const struct scene *s, int ms)
{
	char c;

	if (fd_wait(s->heard, POLLIN, deadline_in_ms((uint64_t)ms)) < 0)
		return 0;
	return read(s->heard, &c, 1) == 1 ? c : 0;
}

/* The worker that comes after the first: it brings everything. */
static int replace(void *ctx, struct keeper *k)
{
	struct scene *s = ctx;
	struct err e = ERR_INIT;

	put_pages(keeper_stream_line(k, 3), s, 0, PAGES);
	while (!keeper_done(k))
		if (fd_wait(keeper_event_fd(k), POLLIN, SOON) < 0 || keeper_event(k, &e) < 0)
			return 1;
	return 0;
}

static void set_up_with(struct scene *s, int (*another)(void *ctx, struct keeper *k))
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
	struct keeper_config c = {.max_bytes = 64 << 20, .alone = alone, .over = over, .never = never, .lost = lost,
		.replace = another, .ctx = s};
	struct err e = ERR_INIT;
	int ends[2], stderr_fd;

	*s = (struct scene){.pidfd = -1};
	start_container(s);
	assert_int_equal(pipe(ends), 0);
	s->heard = ends[0];
	/* Of what we have the keeper keeps standard error alone. */
	stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	s->say = dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	assert_int_equal(keeper_start(&c, &s->keeper, &e), 0);
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	s->keeper_pidfd = (int)syscall(SYS_pidfd_open, keeper_pid(s->keeper), 0);
	ranges_add(&lazy, (uintptr_t)s->mem, (uintptr_t)s->mem + PAGES_TO_BYTES(PAGES));
	assert_int_equal(keeper_expect(s->keeper, VPID, &lazy), 0);
	assert_int_equal(keeper_drop_others(s->keeper), 0);
	assert_int_equal(keeper_add_view(s->keeper, VPID, s->uffd, &e), 0);
	assert_int_equal(keeper_open(s->keeper), 0);
}

static void set_up(struct scene *s)
{
	set_up_with(s, NULL);
}

static void end_container(struct scene *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
}

static bool keeper_ends(const struct scene *s)
{
	return fd_wait(s->keeper_pidfd, POLLIN, SOON) == 0;
}

static void tear_down(struct scene *s)
{
	end_container(s);
	keeper_free(s->keeper);
	assert_true(keeper_ends(s));
	close(s->pidfd);
	close(s->keeper_pidfd);
	close(s->talk);
	close(s->heard);
	munmap(s->mem, PAGES_TO_BYTES(PAGES));
}

/* --- tests --- */

/* From @first to the end but 400. */
static void lacks(const struct scene *s, uint32_t first, uint32_t last)
{
	_cleanup_ranges_ struct ranges l = RANGES_INIT;
	uint32_t vpid;

	assert_int_equal(keeper_lacking(s->keeper, 0, &vpid, &l), 1);
	assert_int_equal(vpid, VPID);
	assert_int_equal(l.n, 2);
	assert_true(l.v[0].start == (uintptr_t)s->mem + PAGES_TO_BYTES(first));
	assert_true(l.v[0].end == (uintptr_t)s->mem + PAGES_TO_BYTES(400));
	assert_true(l.v[1].end == (uintptr_t)s->mem + PAGES_TO_BYTES(last + 1));
	assert_int_equal(keeper_lacking(s->keeper, VPID, &vpid, &l), 0);
}

static void pages_are_installed_and_asked_for(void **state)
{
	struct scene s;
	struct pager_wish w;
	struct pager_stats stats;
	struct err e = ERR_INIT;

	(void)state;
	set_up(&s);
	put_pages(keeper_stream_line(s.keeper, 0), &s, 0, 300);
	ask_page(&s, 5);
	assert_int_equal(found(&s, 10000), 'y');
	ask_page(&s, 400);
	assert_int_equal(fd_wait(keeper_wish_fd(s.keeper), POLLIN, SOON), 0);
	assert_int_equal(keeper_next_wish(keeper_wish_fd(s.keeper), &w), 1);
	assert_int_equal(w.vpid, VPID);
	assert_true(w.addr == (uintptr_t)s.mem + PAGES_TO_BYTES(400));
	assert_int_equal(keeper_next_wish(keeper_wish_fd(s.keeper), &w), 0);
	assert_int_equal(keeper_ask_again(s.keeper), 0);
	assert_int_equal(keeper_next_wish(keeper_wish_fd(s.keeper), &w), 1);
	assert_true(w.addr == (uintptr_t)s.mem + PAGES_TO_BYTES(400));
	put_pages(keeper_urgent_line(s.keeper), &s, 400, 401);
	assert_int_equal(found(&s, 10000), 'y');
	assert_false(keeper_done(s.keeper));
	assert_int_equal(keeper_put(keeper_stream_line(s.keeper, 1), VPID,
				 (uintptr_t)s.mem + PAGES_TO_BYTES(300), 1, NULL), 0);
	assert_int_equal(keeper_flush(keeper_stream_line(s.keeper, 1)), 0);
	lacks(&s, 301, 599);
	put_pages(keeper_stream_line(s.keeper, 1), &s, 301, 599);
	assert_int_equal(keeper_put(keeper_stream_line(s.keeper, 1), VPID,
				 (uintptr_t)s.mem + PAGES_TO_BYTES(599), 1, NULL), 0);
	while (!keeper_done(s.keeper)) {
		assert_int_equal(fd_wait(keeper_event_fd(s.keeper), POLLIN, SOON), 0);
		assert_true(keeper_event(s.keeper, &e) >= 0);
	}
	assert_int_equal(keeper_stats(s.keeper, &stats), 0);
	assert_int_equal(stats.pages, PAGES);
	assert_int_equal(stats.pending, 0);
	for (uint32_t i = 0; i < PAGES; i += 7) {
		ask_page(&s, i);
		assert_int_equal(found(&s, 10000), 'y');
	}
	ask_page(&s, 599);
	assert_int_equal(found(&s, 10000), 'z');
	tear_down(&s);
}

/* Nothing has run before the commit: CRIU, too, has gone by then. */
static void without_a_worker_it_ends_before_the_commit(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	keeper_free(s.keeper);
	s.keeper = NULL;
	assert_true(keeper_ends(&s));
	assert_int_equal(heard(&s, 0), 'n');
	assert_int_equal(heard(&s, 0), 0);
	tear_down(&s);
}

static void without_a_worker_it_holds_on_after_the_commit(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	put_pages(keeper_stream_line(s.keeper, 0), &s, 0, 300);
	assert_int_equal(keeper_own(s.keeper), 0);
	assert_int_equal(keeper_runs(s.keeper), 0);
	keeper_free(s.keeper);
	s.keeper = NULL;
	assert_int_equal(heard(&s, 10000), 'a');
	ask_page(&s, 299);
	assert_int_equal(found(&s, 10000), 'y');
	ask_page(&s, 300);
	assert_int_equal(found(&s, A_WHILE), 0);
	end_container(&s);
	assert_int_equal(heard(&s, 10000), 'o');
	assert_true(keeper_ends(&s));
	tear_down(&s);
}

/* With all that it needs, and yet it may never have run: nobody is to throw away what it came from. */
static void who_dies_at_the_gate_leaves_it_open_whether_it_ran(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	put_pages(keeper_stream_line(s.keeper, 0), &s, 0, PAGES);
	assert_int_equal(keeper_flush(keeper_stream_line(s.keeper, 0)), 0);
	assert_int_equal(keeper_own(s.keeper), 0);
	keeper_free(s.keeper);
	s.keeper = NULL;
	assert_int_equal(heard(&s, 10000), 'a');
	end_container(&s);
	assert_int_equal(heard(&s, 10000), '?');
	assert_true(keeper_ends(&s));
	tear_down(&s);
}

static void another_worker_brings_the_rest(void **state)
{
	struct scene s;

	(void)state;
	set_up_with(&s, replace);
	put_pages(keeper_stream_line(s.keeper, 0), &s, 0, 100);
	assert_int_equal(keeper_own(s.keeper), 0);
	assert_int_equal(keeper_runs(s.keeper), 0);
	ask_page(&s, 300);
	assert_int_equal(found(&s, 100), 0);
	keeper_free(s.keeper);
	s.keeper = NULL;
	assert_int_equal(heard(&s, 10000), 'a');
	assert_int_equal(found(&s, 10000), 'y');
	assert_int_equal(heard(&s, 10000), 'o');
	assert_true(keeper_ends(&s));
	for (uint32_t i = 0; i < PAGES; i++) {
		ask_page(&s, i);
		assert_int_equal(found(&s, 10000), 'y');
	}
	tear_down(&s);
}

static pid_t anchor_of(pid_t keeper)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", keeper, keeper);
	assert_int_equal(file_read(path, 4096, &text, NULL), 0);
	return (pid_t)atoi(text);
}

static void a_killed_anchor_is_replaced(void **state)
{
	struct scene s;
	pid_t first, next = 0;

	(void)state;
	set_up(&s);
	assert_int_equal(keeper_own(s.keeper), 0);
	first = anchor_of(keeper_pid(s.keeper));
	kill(first, SIGKILL);
	for (int i = 0; i < 200 && (next == 0 || next == first); i++) {
		usleep(50000);
		next = anchor_of(keeper_pid(s.keeper));
	}
	assert_true(next > 0 && next != first);
	kill(keeper_pid(s.keeper), SIGKILL);
	assert_true(keeper_ends(&s));
	ask_page(&s, 400);
	assert_int_equal(found(&s, A_WHILE), 0);
	tear_down(&s);
}

static void a_killed_keeper_leaves_no_zeros(void **state)
{
	struct scene s;
	struct err e = ERR_INIT;
	int anchor;

	(void)state;
	set_up(&s);
	put_pages(keeper_stream_line(s.keeper, 0), &s, 0, 300);
	assert_int_equal(keeper_own(s.keeper), 0);
	anchor = (int)syscall(SYS_pidfd_open, anchor_of(keeper_pid(s.keeper)), 0);
	assert_true(anchor >= 0);
	kill(keeper_pid(s.keeper), SIGKILL);
	assert_true(keeper_ends(&s));
	assert_int_equal(heard(&s, 10000), 'l');
	do
		assert_int_equal(fd_wait(keeper_event_fd(s.keeper), POLLIN, SOON), 0);
	while (keeper_event(s.keeper, &e) >= 0);
	assert_int_equal(e.code, EPIPE);
	ask_page(&s, 400);
	assert_int_equal(found(&s, A_WHILE), 0);
	assert_true(fd_wait(anchor, POLLIN, 0) == -ETIMEDOUT);
	end_container(&s);
	assert_int_equal(fd_wait(anchor, POLLIN, SOON), 0);
	assert_int_equal(heard(&s, 0), 0);
	close(anchor);
	tear_down(&s);
}

/* --- a worker that has been taken over --- */

static int64_t send_request(const struct keeper_link *l, size_t line, const struct keeper_request *q,
	const int *fd)
{
	struct keeper_reply reply;

	assert_int_equal(fd_send(l->lines[line][0], q, sizeof(*q), fd, fd ? 1 : 0), 0);
	assert_int_equal(fd_wait(l->lines[line][0], POLLIN, SOON), 0);
	assert_int_equal(recv(l->lines[line][0], &reply, sizeof(reply), 0), sizeof(reply));
	return reply.result;
}

static void put_ranges(const struct keeper_link *l, uint64_t start, uint64_t end)
{
	struct range x[2] = {{0x1000, 0x2000}, {start, end}};

	memcpy(keeper_slot(l, KEEPER_CONTROL, 0), x, sizeof(x));
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const struct keeper_request bad[] = {
		{.verb = KEEPER_PUT, .pages = 0, .addr = 0x1000},
		{.verb = KEEPER_PUT, .pages = 65, .addr = 0},
		{.verb = KEEPER_PUT, .pages = 1, .addr = 0x1001},
		{.verb = KEEPER_PUT, .pages = 2, .addr = 0x1ff000},
		{.verb = KEEPER_PUT, .pages = 1, .addr = ~0xfffull},
		{.verb = KEEPER_PUT, .pages = 1, .addr = 0x1000, .slot = KEEPER_SLOTS},
		{.verb = KEEPER_PUT_ZEROS, .pages = (1 << 20) + 1, .addr = 0x1000},
		{.verb = KEEPER_PUT_ZEROS, .pages = 1 << 20, .addr = ~0xfffull},
		{.verb = KEEPER_FORGET, .pages = 0, .addr = 0x1000},
		{.verb = KEEPER_EXPECT_SOME, .pages = KEEPER_ROOM / sizeof(struct range) + 1},
		{.verb = KEEPER_ADD_VIEW, .vpid = 1},
		{.verb = 0},
		{.verb = 999},
	};
	struct keeper_config c = {.max_bytes = 64 << 20};
	struct keeper_link l;
	int null = open("/dev/null", O_RDWR);
	pid_t pid;

	(void)state;
	assert_int_equal(keeper_link_open(&l), 0);
	pid = fork();
	if (pid == 0) {
		keeper_link_close(&l, 0);
		keeper_main(&c, &l);
	}
	keeper_link_close(&l, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(send_request(&l, KEEPER_CONTROL, &bad[i], NULL) < 0);
	assert_int_equal(send_request(&l, KEEPER_CONTROL, &(struct keeper_request){.verb = KEEPER_ADD_VIEW}, NULL),
		-EMFILE);
	assert_true(send_request(&l, KEEPER_CONTROL, &(struct keeper_request){.verb = KEEPER_ADD_VIEW}, &null) < 0);
	/* Ranges that go back, are none, or are more than there can be. */
	for (int i = 0; i < 4; i++) {
		const struct range x[] = {{0x1000, 0x3000}, {0x5000, 0x5000}, {0x5000, 0x5800},
			{0x5000, 1ull << 56}};

		put_ranges(&l, x[i].start, x[i].end);
		assert_true(send_request(&l, KEEPER_CONTROL,
			&(struct keeper_request){.verb = KEEPER_EXPECT_SOME, .pages = 2}, NULL) < 0);
		send_request(&l, KEEPER_CONTROL, &(struct keeper_request){.verb = KEEPER_EXPECT, .vpid = 100}, NULL);
	}
	/* Threads that take pages may not say what the main one says. */
	assert_true(send_request(&l, KEEPER_BULK, &(struct keeper_request){.verb = KEEPER_OWN}, NULL) < 0);
	/* Half a request ends its line alone. */
	assert_int_equal(send(l.lines[KEEPER_BULK][0], "x", 1, 0), 1);
	assert_int_equal(fd_wait(l.lines[KEEPER_BULK][0], POLLIN, SOON), 0);
	assert_int_equal(recv(l.lines[KEEPER_BULK][0], &(struct keeper_reply){0}, 1, 0), 0);
	assert_int_equal(send_request(&l, KEEPER_CONTROL, &(struct keeper_request){.verb = KEEPER_STATS}, NULL), 0);
	keeper_link_done(&l);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(null);
}

static void a_full_store_is_said_to_be_full(void **state)
{
	struct keeper_config c = {.max_bytes = BLOCK_BYTES};
	struct keeper_line *l;
	struct keeper *k;
	struct err e = ERR_INIT;
	void *room;

	(void)state;
	assert_int_equal(keeper_start(&c, &k, &e), 0);
	l = keeper_stream_line(k, 0);
	for (uint64_t i = 0; i < BLOCK_PAGES; i++) {
		assert_int_equal(keeper_room(l, &room), 0);
		assert_int_equal(keeper_put(l, VPID, PAGES_TO_BYTES(16 + i), 1, room), 0);
	}
	assert_int_equal(keeper_flush(l), 0);
	assert_int_equal(keeper_put(l, VPID, 0x1000, 1, room), 0);
	assert_int_equal(keeper_flush(l), -ENOSPC);
	assert_int_equal(keeper_line_error(l, -ENOSPC, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "keeps 2 MB"));
	keeper_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_installed_and_asked_for),
		cmocka_unit_test(without_a_worker_it_ends_before_the_commit),
		cmocka_unit_test(without_a_worker_it_holds_on_after_the_commit),
		cmocka_unit_test(who_dies_at_the_gate_leaves_it_open_whether_it_ran),
		cmocka_unit_test(another_worker_brings_the_rest),
		cmocka_unit_test(a_killed_keeper_leaves_no_zeros),
		cmocka_unit_test(a_killed_anchor_is_replaced),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(a_full_store_is_said_to_be_full),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
