/* SPDX-License-Identifier: Apache-2.0 */
/* Reading memory, encoding it, sending it: this process is the container. */
#include "unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "mem/codec.h"
#include "mem/sender.h"
#include "mem/smaps.h"
#include "mem/space.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void compression_pays_on_slow_links_only(void **state)
{
	(void)state;
	assert_false(codec_pays(0, 0, 0.5));
	assert_true(codec_pays(10e6, 400e6, 0.4));
	assert_false(codec_pays(2000e6, 400e6, 0.4));
	assert_false(codec_pays(10e6, 400e6, 1.0));
	assert_true(codec_is_cheap(10e6, 400e6));
	assert_false(codec_is_cheap(200e6, 400e6));
	assert_false(codec_is_cheap(0, 400e6));
}

static void pages_survive_the_codec(void **state)
{
	static uint8_t pages[PAGES_TO_BYTES(8)], back[sizeof(pages)];
	struct codec *c = codec_new();
	bool zstd = false;

	(void)state;
	assert_non_null(c);
	for (size_t i = 0; i < sizeof(pages); i++)
		pages[i] = (uint8_t)(i / 97);
	for (int round = 0; round < 200; round++) {
		const void *data;
		size_t len;
		enum codec_encoding how = codec_encode(c, pages, sizeof(pages), &data, &len);

		zstd |= how == CODEC_ZSTD;
		memset(back, 1, sizeof(back));
		assert_int_equal(codec_decode(how, data, len, back, sizeof(back)), 0);
		assert_memory_equal(back, pages, sizeof(pages));
		codec_sent(c, len, len * 100); /* 10 MB/s: it pays */
	}
	assert_true(zstd);
	codec_free(c);
}

/* The second of two encodings on a link that is known; the first one tries. */
static enum codec_encoding second_on(double link_rate)
{
	static const uint8_t pages[PAGES_TO_BYTES(8)];
	struct codec *c = codec_new();
	const void *data;
	size_t len;
	enum codec_encoding how;

	assert_non_null(c);
	codec_expect(c, link_rate);
	assert_int_equal(codec_encode(c, pages, sizeof(pages), &data, &len), CODEC_ZSTD);
	how = codec_encode(c, pages, sizeof(pages), &data, &len);
	codec_free(c);
	return how;
}

static void what_is_known_of_a_link_counts_at_once(void **state)
{
	(void)state;
	assert_int_equal(second_on(1e3), CODEC_ZSTD);
	assert_int_equal(second_on(1e15), CODEC_RAW);
}

static void what_is_not_just_that_many_bytes_is_refused(void **state)
{
	static uint8_t pages[PAGES_TO_BYTES(2)];

	(void)state;
	assert_int_equal(codec_decode(CODEC_RAW, pages, 4096, pages, 8192), -EBADMSG);
	assert_int_equal(codec_decode(CODEC_ZSTD, "nonsense", 8, pages, 8192), -EBADMSG);
	assert_int_equal(codec_decode(9, pages, 8192, pages, 8192), -EBADMSG);
}

static void runs_of_zero_pages_are_found(void **state)
{
	static uint8_t pages[PAGES_TO_BYTES(6)];
	bool zero;

	(void)state;
	memset(pages, 0, sizeof(pages));
	pages[PAGES_TO_BYTES(3) - 1] = 1; /* the last byte of the third */
	pages[PAGES_TO_BYTES(3)] = 1;
	assert_int_equal(codec_run(pages, 6, &zero), 2);
	assert_true(zero);
	assert_int_equal(codec_run(pages + PAGES_TO_BYTES(2), 4, &zero), 2);
	assert_false(zero);
}

static void maps_are_parsed_strictly(void **state)
{
	static const char text[] = "1000-3000 rw-p 00000000 00:00 0 \n"
				   "3000-5000 r-xp 00001000 fd:01 12  /bin/x y\n"
				   "7000-9000 ---s 00000000 00:05 3   /dev/zero (deleted)\n";
	struct region *v;
	size_t n;

	(void)state;
	assert_int_equal(maps_parse(text, &v, &n), 0);
	assert_int_equal(n, 3);
	assert_true(v[0].anonymous && v[0].writable && !v[0].shared && !v[0].executable);
	assert_true(!v[1].anonymous && v[1].executable && v[1].start == 0x3000);
	assert_true(v[2].shared && !v[2].readable);
	free(v);
	assert_int_equal(maps_parse("nonsense\n", &v, &n), -EBADMSG);
	assert_int_equal(maps_parse("3000-1000 rw-p 0 00:00 0\n", &v, &n), -EBADMSG);
}

/* --- smaps ------------------------------------------------------------------------------------ */

#define REGION(line, flags) line "\nSize:    8 kB\nRss:     4 kB\nVmFlags: " flags " \n"
#define HEAP "1000-9000 rw-p 00000000 00:00 0 "
#define MAPPED "a000-c000 rw-p 00000000 00:00 0                          [heap]"
#define FILE_LINE "c000-d000 r-xp 00001000 fd:01 12  /bin/x"

static void parse_smaps(const char *text, struct smaps *ret)
{
	assert_int_equal(smaps_parse(strdup(text), ret), 0);
}

static void smaps_tells_regions_and_flags(void **state)
{
	_cleanup_smaps_ struct smaps s = SMAPS_INIT;
	struct smaps bad;

	(void)state;
	parse_smaps(REGION(HEAP, "rd wr mr mw me ac") REGION(FILE_LINE, "rd ex mr mw me"), &s);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.maps, HEAP "\n" FILE_LINE "\n");
	assert_int_equal(s.regions[0].end, 0x9000);
	assert_int_equal(strncmp(s.flags[1], " rd ex mr", 9), 0);
	assert_int_equal(smaps_parse(strdup("Rss: 4 kB\n"), &bad), -EBADMSG);
	assert_int_equal(smaps_parse(strdup(HEAP "\nRss: 4 kB\n"), &bad), -EBADMSG);
	assert_int_equal(smaps_parse(strdup(HEAP "\n" REGION(MAPPED, "rd")), &bad), -EBADMSG);
}

static void only_plain_large_regions_are_spared(void **state)
{
	static const char *const special[] = {"lo", "ht", "io", "pf", "mm", "wf", "dp", "gu", "ss"};
	char text[512];

	(void)state;
	for (size_t i = 0; i <= sizeof(special) / sizeof(special[0]); i++) {
		bool plain = i == sizeof(special) / sizeof(special[0]);
		_cleanup_ranges_ struct ranges r = RANGES_INIT;
		_cleanup_smaps_ struct smaps s = SMAPS_INIT;

		snprintf(text, sizeof(text), REGION(HEAP, "rd wr mr mw me %s") REGION(MAPPED, "rd wr"),
			plain ? "ac" : special[i]);
		parse_smaps(text, &s);
		assert_int_equal(smaps_plain(&s, 0x8000, &r), 0);
		assert_int_equal(ranges_bytes(&r), plain ? 0x8000 : 0);
	}
}

static void only_the_text_of_regions_is_shortened(void **state)
{
	static const char text[] = REGION("00001000-00009000 rw-p 0 00:00 0", "rd wr") REGION(MAPPED, "rd wr"),
			  shown[] = REGION("00001000-00002000 rw-p 0 00:00 0", "rd wr") REGION(MAPPED, "rd wr");
	_cleanup_ranges_ struct ranges r = RANGES_INIT;
	_cleanup_smaps_ struct smaps s = SMAPS_INIT;

	(void)state;
	parse_smaps(text, &s);
	assert_int_equal(smaps_plain(&s, 0x8000, &r), 0);
	smaps_shorten(&s, &r);
	assert_string_equal(s.text, shown);
	assert_int_equal(s.regions[0].end, 0x9000);
	assert_int_equal(strncmp(s.maps, "00001000-00009000", 17), 0);
}

static void changed_flags_are_noticed(void **state)
{
	static const char before[] = REGION(HEAP, "rd wr mr mw me ac") REGION(MAPPED, "mr mw me");
	static const struct {
		const char *now;
		bool agrees;
	} cases[] = {
		{before, true},
		/* what CRIU and the tracker do meanwhile */
		{REGION("0-1000 rw-p 0 00:00 0", "rd wr") REGION(HEAP, "rd wr mr mw me ac uw sd")
				REGION(MAPPED, "rd mr mw me"), true},
		/* cut in two */
		{REGION("1000-3000 rw-p 0 00:00 0", "rd wr mr mw me ac")
				REGION("3000-9000 rw-p 0 00:00 0", "rd wr mr mw me ac uw")
					REGION(MAPPED, "mr mw me"), true},
		{REGION("1000-3000 rw-p 0 00:00 0", "rd wr mr mw me ac")
				REGION("3000-9000 rw-p 0 00:00 0", "rd wr mr mw me ac dc")
					REGION(MAPPED, "mr mw me"), false},
		{REGION(HEAP, "rd wr mr mw me ac") REGION(MAPPED, "mr mw me lo"), false},
		{REGION(HEAP, "rd wr mr mw me") REGION(MAPPED, "mr mw me"), false},
		{REGION(HEAP, "rd wr mr mw me ac"), false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_smaps_ struct smaps a = SMAPS_INIT, b = SMAPS_INIT;

		parse_smaps(before, &a);
		parse_smaps(cases[i].now, &b);
		assert_int_equal(smaps_agree(&a, &b), cases[i].agrees);
	}
}

static void smaps_of_this_process_has_its_maps(void **state)
{
	_cleanup_smaps_ struct smaps s = SMAPS_INIT;

	(void)state;
	assert_int_equal(smaps_read(getpid(), &s), 0);
	assert_true(s.n > 3);
	assert_non_null(strstr(s.maps, "[stack]"));
}

/* --- sending ---------------------------------------------------------------------------------- */

struct sink {
	pthread_mutex_t lock;
	uint64_t pages, zeros, ended, cuts;
	uint8_t *copy; /* of the memory that is sent */
	uint64_t base;
	bool broken;
};

static int take_pages(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages,
	enum codec_encoding encoding, const void *data, size_t len, struct err *e)
{
	struct sink *s = ctx;

	(void)vpid;
	if (s->broken)
		return err_set(e, ERR_PEER, EPIPE, "gone");
	pthread_mutex_lock(&s->lock);
	s->pages += pages;
	pthread_mutex_unlock(&s->lock);
	return codec_decode(encoding, data, len, s->copy + (addr - s->base), PAGES_TO_BYTES(pages));
}

static int take_zeros(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e)
{
	struct sink *s = ctx;

	(void)vpid;
	(void)e;
	pthread_mutex_lock(&s->lock);
	s->zeros += pages;
	pthread_mutex_unlock(&s->lock);
	memset(s->copy + (addr - s->base), 0, PAGES_TO_BYTES(pages));
	return 0;
}

static int take_forget(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e)
{
	struct sink *s = ctx;

	(void)vpid;
	(void)e;
	memset(s->copy + (addr - s->base), 0xdd, PAGES_TO_BYTES(pages));
	return 0;
}

static int take_mark(void *ctx, struct err *e)
{
	(void)ctx;
	(void)e;
	return 0;
}

static int take_cut(void *ctx, struct err *e)
{
	struct sink *s = ctx;

	(void)e;
	pthread_mutex_lock(&s->lock);
	s->cuts++;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int take_end(void *ctx, uint64_t pages, uint64_t bytes, struct err *e)
{
	struct sink *s = ctx;

	(void)pages;
	(void)bytes;
	(void)e;
	pthread_mutex_lock(&s->lock);
	s->ended++;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

#define PAGES 3000

static uint8_t *make_memory(void)
{
	uint8_t *p = mmap(NULL, PAGES_TO_BYTES(PAGES), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++)
		if (i % 3 == 0)
			memset(p + PAGES_TO_BYTES(i), (int)(i % 251 + 1), PAGE_BYTES);
		else
			p[PAGES_TO_BYTES(i)] = 0; /* populated, and zero */
	return p;
}

static void open_self(struct space *s)
{
	pid_t self = getpid();
	struct err e = ERR_INIT;

	assert_int_equal(space_open(s, &self, 1, &e), 0);
	assert_int_equal(s->n, 1);
	assert_non_null(space_find(s, (uint32_t)self));
	assert_null(space_find(s, 1));
}

static struct sender *start_sending(struct sink *sink, size_t streams)
{
	struct page_sink sinks[4];
	struct sender *sender;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < streams; i++)
		sinks[i] = (struct page_sink){.ctx = sink, .pages = take_pages, .zeros = take_zeros,
			.forget = take_forget, .cut = take_cut, .mark = take_mark, .end = take_end};
	assert_int_equal(sender_new(sinks, streams, &sender, &e), 0);
	return sender;
}

static void every_page_arrives_once_over_all_streams(void **state)
{
	_cleanup_ranges_ struct ranges ranges = RANGES_INIT, populated = RANGES_INIT;
	uint8_t *memory = make_memory();
	struct sink sink = {.lock = PTHREAD_MUTEX_INITIALIZER,
		.copy = malloc(PAGES_TO_BYTES(PAGES)), .base = (uintptr_t)memory};
	struct space space = SPACE_INIT;
	struct sender *sender;
	struct err e = ERR_INIT;

	(void)state;
	open_self(&space);
	assert_int_equal(process_populated(&space.procs[0], false, &populated), 0);
	assert_true(ranges_contain(&populated, sink.base, sink.base + PAGES_TO_BYTES(PAGES)));
	memset(sink.copy, 0xee, PAGES_TO_BYTES(PAGES));
	ranges_add(&ranges, sink.base, sink.base + PAGES_TO_BYTES(PAGES));
	sender = start_sending(&sink, 3);
	sender_pause(sender, true);
	assert_int_equal(sender_push(sender, &space.procs[0], &ranges, false), 0);
	sender_finish(sender);
	assert_false(sender_finished(sender));
	sender_pause(sender, false);
	assert_int_equal(fd_wait(sender_event_fd(sender), POLLIN, deadline_in_ms(10000)), 0);
	assert_int_equal(sender_result(sender, &e), 0);
	assert_true(sender_finished(sender));
	assert_int_equal(sink.ended, 3);
	assert_int_equal(sink.pages, PAGES / 3);
	assert_int_equal(sink.pages + sink.zeros, PAGES);
	assert_memory_equal(sink.copy, memory, PAGES_TO_BYTES(PAGES));
	sender_free(sender);
	space_done(&space);
	free(sink.copy);
	munmap(memory, PAGES_TO_BYTES(PAGES));
}

static void what_is_taken_back_follows_what_was_sent(void **state)
{
	_cleanup_ranges_ struct ranges all = RANGES_INIT, some = RANGES_INIT;
	uint8_t *memory = make_memory();
	struct sink sink = {.lock = PTHREAD_MUTEX_INITIALIZER,
		.copy = malloc(PAGES_TO_BYTES(PAGES)), .base = (uintptr_t)memory};
	struct space space = SPACE_INIT;
	struct sender *sender;

	(void)state;
	open_self(&space);
	ranges_add(&all, sink.base, sink.base + PAGES_TO_BYTES(PAGES));
	ranges_add(&some, sink.base + PAGES_TO_BYTES(100), sink.base + PAGES_TO_BYTES(2000));
	/* A hole, made before its turn comes: left out, the rest is sent. */
	munmap(memory + PAGES_TO_BYTES(2500), PAGES_TO_BYTES(10));
	sender = start_sending(&sink, 3);
	sender_push(sender, &space.procs[0], &all, true);
	sender_forget(sender, space.procs[0].vpid, &some);
	sender_cut(sender);
	assert_int_equal(fd_wait(sender_idle_fd(sender), POLLIN, deadline_in_ms(10000)), 0);
	assert_int_equal(sink.cuts, 3);
	assert_int_equal(sink.pages + sink.zeros, PAGES - 10);
	assert_memory_equal(sink.copy, memory, PAGES_TO_BYTES(100));
	for (size_t i = 100; i < 2000; i++)
		assert_int_equal(sink.copy[PAGES_TO_BYTES(i)], 0xdd);
	sender_push(sender, &space.procs[0], &some, false);
	sender_finish(sender);
	assert_int_equal(fd_wait(sender_event_fd(sender), POLLIN, deadline_in_ms(10000)), 0);
	assert_true(sender_finished(sender));
	assert_memory_equal(sink.copy, memory, PAGES_TO_BYTES(2500));
	sender_free(sender);
	space_done(&space);
	free(sink.copy);
	munmap(memory, PAGES_TO_BYTES(PAGES));
}

static void a_broken_stream_is_told_and_ends_all(void **state)
{
	_cleanup_ranges_ struct ranges ranges = RANGES_INIT;
	uint8_t *memory = make_memory();
	struct sink sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .base = (uintptr_t)memory,
		.copy = malloc(PAGES_TO_BYTES(PAGES)), .broken = true};
	struct space space = SPACE_INIT;
	struct sender *sender;
	struct err e = ERR_INIT;

	(void)state;
	open_self(&space);
	ranges_add(&ranges, sink.base, sink.base + PAGES_TO_BYTES(PAGES));
	sender = start_sending(&sink, 2);
	sender_push(sender, &space.procs[0], &ranges, false);
	assert_int_equal(fd_wait(sender_event_fd(sender), POLLIN, deadline_in_ms(10000)), 0);
	assert_int_equal(sender_result(sender, &e), -EPIPE);
	assert_false(sender_finished(sender));
	sender_free(sender);
	space_done(&space);
	free(sink.copy);
	munmap(memory, PAGES_TO_BYTES(PAGES));
}

static void memory_that_is_not_there_can_not_be_read(void **state)
{
	struct space space = SPACE_INIT;
	uint8_t page[PAGE_BYTES];
	uint8_t *hole = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	open_self(&space);
	/* Without read permission for its own process, but not for us. */
	assert_int_equal(process_read(&space.procs[0], (uintptr_t)hole, 1, page), 0);
	munmap(hole, PAGE_BYTES);
	assert_int_equal(process_read(&space.procs[0], (uintptr_t)hole, 1, page), -EFAULT);
	space_done(&space);
}

/* A child that waits, with our memory and, if that is allowed, the pid @pid. */
static pid_t spawn(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = pid ? (uintptr_t)&pid : 0, .set_tid_size = pid != 0};
	pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (child == 0)
		pause();
	return child;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Documentation/admin-guide/mm/pagemap.rst: mapped by this process alone. */
static bool is_exclusive(const struct process *p, const void *page)
{
	uint64_t entry = 0;

	assert_int_equal(pread(p->pagemap, &entry, sizeof(entry), (off_t)((uintptr_t)page / 512)),
		sizeof(entry));
	assert_true(entry >> 63);
	return entry >> 56 & 1;
}

/* A reader that pins pages makes the kernel copy them: a fork would cost its memory twice. */
static void pages_shared_since_a_fork_stay_shared(void **state)
{
	static char page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	char copy[PAGE_BYTES];
	struct process p = PROCESS_INIT;
	bool before, after;
	pid_t child;

	(void)state;
	page[7] = 1;
	child = spawn(0);
	assert_true(child > 0);
	assert_int_equal(process_open(&p, child), 0);
	before = is_exclusive(&p, page);
	assert_int_equal(process_read(&p, (uintptr_t)page, 1, copy), 0);
	after = is_exclusive(&p, page);
	process_done(&p);
	end(child);
	assert_int_equal(copy[7], 1);
	assert_false(before);
	assert_false(after);
}

static void another_with_the_same_pid_is_not_read(void **state)
{
	static char page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	char copy[PAGE_BYTES];
	struct process p = PROCESS_INIT;
	pid_t first = spawn(0), second;
	int r;

	(void)state;
	assert_true(first > 0);
	assert_int_equal(process_open(&p, first), 0);
	assert_int_equal(process_read(&p, (uintptr_t)page, 1, copy), 0);
	end(first);
	second = spawn(first);
	r = process_read(&p, (uintptr_t)page, 1, copy);
	process_done(&p);
	if (second < 0)
		skip();
	end(second);
	assert_int_equal(second, first);
	assert_int_equal(r, -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compression_pays_on_slow_links_only),
		cmocka_unit_test(pages_survive_the_codec),
		cmocka_unit_test(what_is_known_of_a_link_counts_at_once),
		cmocka_unit_test(what_is_not_just_that_many_bytes_is_refused),
		cmocka_unit_test(runs_of_zero_pages_are_found),
		cmocka_unit_test(maps_are_parsed_strictly),
		cmocka_unit_test(smaps_tells_regions_and_flags),
		cmocka_unit_test(only_plain_large_regions_are_spared),
		cmocka_unit_test(only_the_text_of_regions_is_shortened),
		cmocka_unit_test(changed_flags_are_noticed),
		cmocka_unit_test(smaps_of_this_process_has_its_maps),
		cmocka_unit_test(every_page_arrives_once_over_all_streams),
		cmocka_unit_test(what_is_taken_back_follows_what_was_sent),
		cmocka_unit_test(a_broken_stream_is_told_and_ends_all),
		cmocka_unit_test(memory_that_is_not_there_can_not_be_read),
		cmocka_unit_test(pages_shared_since_a_fork_stay_shared),
		cmocka_unit_test(another_with_the_same_pid_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
