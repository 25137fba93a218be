/* SPDX-License-Identifier: Apache-2.0 */
/* This process is the container, a directory its cgroup, and the tracker says what the test wants. */
#include "unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "mem/store.h"
#include "mem/tracker_backend.h"
#include "migrate/copier.h"
#include "migrate/throttle.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

#define PAGES 8

/* In one block: over the border of two a run of pages is sent in two parts. */
static uint8_t *room, *memory;

/* --- the tracker ------------------------------------------------------------------------------ */

static struct {
	const char *cgroup;
	const char *written; /* a digit a page */
	int error;
	bool was_frozen, was_last;
} fake;

static char *freeze_file(void)
{
	char path[512], *text;

	snprintf(path, sizeof(path), "%s/cgroup.freeze", fake.cgroup);
	assert_int_equal(file_read(path, 64, &text, NULL), 0);
	return text;
}

static int fake_probe(void)
{
	return 0;
}

static int fake_scan(struct seen *s, bool last, struct tracked *ret)
{
	_cleanup_free_ char *freeze = freeze_file();

	(void)s;
	fake.was_frozen = freeze[0] == '1';
	fake.was_last = last;
	for (const char *p = fake.written; *p; p++) {
		uint64_t addr = (uintptr_t)memory + PAGES_TO_BYTES(*p - '0');

		ranges_add(&ret->written, addr, addr + PAGE_BYTES);
	}
	return fake.error;
}

static const struct tracker_backend running = {
	.name = "fake", .probe = fake_probe, .scan = fake_scan};
static const struct tracker_backend stopping = {
	.name = "fake", .needs_stop = true, .probe = fake_probe, .scan = fake_scan};

/* --- the target ------------------------------------------------------------------------------- */

/* What arrives: "+12" pages, "-1" forgotten, "|" the cut. The upper regions come first. */
static char trace[256];

static int note(char what, uint64_t addr, uint32_t pages)
{
	size_t n = strlen(trace);

	trace[n++] = what;
	for (uint32_t i = 0; i < pages; i++)
		trace[n++] = (char)('0' + BYTES_TO_PAGES(addr - (uintptr_t)memory) + i);
	trace[n] = '\0';
	return 0;
}

static int take_pages(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages,
	enum codec_encoding encoding, const void *data, size_t len, struct err *e)
{
	(void)ctx, (void)vpid, (void)encoding, (void)data, (void)len, (void)e;
	return note('+', addr, pages);
}

static int take_zeros(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e)
{
	(void)ctx, (void)vpid, (void)e;
	return note('0', addr, pages);
}

static int take_back(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e)
{
	(void)ctx, (void)vpid, (void)e;
	return note('-', addr, pages);
}

static int take_mark(void *ctx, struct err *e)
{
	(void)ctx;
	(void)e;
	return 0;
}

static int take_cut(void *ctx, struct err *e)
{
	(void)ctx, (void)e;
	return note('|', 0, 0);
}

/* --- the container ---------------------------------------------------------------------------- */

struct scene {
	char *cgroup;
	struct sender *sender;
	struct copier copier;
};

static void set_up(struct scene *s, const struct tracker_backend *backend)
{
	struct page_sink sink = {.pages = take_pages, .zeros = take_zeros, .forget = take_back,
		.cut = take_cut, .mark = take_mark};
	struct tracker *tracker;
	struct err e = ERR_INIT;
	char pid[16];

	room = mmap(NULL, 2 * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory = room + (-(uintptr_t)room & (BLOCK_BYTES - 1));
	memset(memory, 1, PAGES_TO_BYTES(PAGES));
	trace[0] = '\0';
	s->cgroup = scratch_make();
	s->copier = COPIER_INIT;
	snprintf(pid, sizeof(pid), "%d\n", getpid());
	scratch_file(s->cgroup, "cgroup.procs", pid, strlen(pid));
	scratch_file(s->cgroup, "cgroup.events", "frozen 1\n", 9);
	scratch_file(s->cgroup, "cgroup.freeze", "0\n", 2);
	memset(&fake, 0, sizeof(fake));
	fake.cgroup = s->cgroup;
	assert_int_equal(sender_new(&sink, 1, &s->sender, &e), 0);
	assert_int_equal(tracker_new_with(backend, &tracker, &e), 0);
	assert_int_equal(copier_init(&s->copier, s->sender, tracker, s->cgroup, &e), 0);
}

static void tear_down(struct scene *s)
{
	sender_free(s->sender);
	copier_done(&s->copier);
	scratch_remove(s->cgroup);
	munmap(room, 2 * BLOCK_BYTES);
}

/* A round: what was written is looked at and sent. */
static void copy(struct scene *s, const char *written)
{
	struct err e = ERR_INIT;
	uint64_t bytes;

	fake.written = written;
	assert_int_equal(copier_look(&s->copier, &bytes, &e), 0);
	assert_int_equal(bytes, PAGES_TO_BYTES(strlen(written)));
	assert_int_equal(copier_send(&s->copier, &e), 0);
	assert_int_equal(fd_wait(sender_idle_fd(s->sender), POLLIN, deadline_in_ms(5000)), 0);
}

static void freeze(struct scene *s, const char *written)
{
	struct err e = ERR_INIT;

	fake.written = written;
	assert_int_equal(copier_freeze(&s->copier, &e), 0);
	assert_true(fake.was_last);
	assert_int_equal(fd_wait(sender_idle_fd(s->sender), POLLIN, deadline_in_ms(5000)), 0);
}

static void what_no_longer_holds_is_taken_back_before_the_cut(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, &running);
	copy(&s, "01235");
	copy(&s, "12");
	assert_string_equal(trace, "+5+0123+12");
	/* 6 has never been sent, so there is nothing to take back. */
	freeze(&s, "26");
	assert_string_equal(trace, "+5+0123+12-2|+6+2");
	tear_down(&s);
}

static void little_is_sent_anew_before_the_cut(void **state)
{
	static const struct {
		const char *written, *trace;
	} cases[] = {
		{"26", "+5+0123+6+2|"},
		{"126", "+5+0123-12|+6+12"}, /* not so little */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene s;

		set_up(&s, &running);
		copy(&s, "01235");
		s.copier.ahead_bytes = PAGES_TO_BYTES(2);
		freeze(&s, cases[i].written);
		assert_string_equal(trace, cases[i].trace);
		tear_down(&s);
	}
}

static void what_was_seen_and_not_sent_follows_the_cut(void **state)
{
	struct scene s;
	struct err e = ERR_INIT;
	uint64_t bytes;

	(void)state;
	set_up(&s, &running);
	copy(&s, "012");
	fake.written = "1";
	assert_int_equal(copier_look(&s.copier, &bytes, &e), 0);
	freeze(&s, "");
	assert_string_equal(trace, "+012-1|+1");
	tear_down(&s);
}

static void the_rest_is_what_the_target_lacks(void **state)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
	struct scene s;
	struct err e = ERR_INIT;

	(void)state;
	set_up(&s, &running);
	copy(&s, "012");
	freeze(&s, "1");
	ranges_add(&lazy, (uintptr_t)memory, (uintptr_t)memory + PAGES_TO_BYTES(4));
	assert_int_equal(copier_rest(&s.copier, s.copier.v[0].vpid, &lazy, &e), 0);
	assert_int_equal(fd_wait(sender_idle_fd(s.sender), POLLIN, deadline_in_ms(5000)), 0);
	assert_string_equal(trace, "+012-1|+1+3");
	tear_down(&s);
}

static void unmap(int page)
{
	assert_int_equal(munmap(memory + PAGES_TO_BYTES(page), PAGE_BYTES), 0);
}

static void map_again(int page)
{
	void *at = memory + PAGES_TO_BYTES(page);

	assert_ptr_equal(mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
	memset(at, 2, PAGE_BYTES);
}

static int rest(struct scene *s, struct err *e)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;

	ranges_add(&lazy, (uintptr_t)memory, (uintptr_t)memory + PAGES_TO_BYTES(4));
	return copier_rest(&s->copier, s->copier.v[0].vpid, &lazy, e);
}

/* Sent, written, and then it could not be read: the target must not have what it was. */
static void what_was_skipped_is_not_had(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	for (int again = 0; again < 2; again++) {
		struct scene s;

		set_up(&s, &running);
		copy(&s, "0123");
		unmap(1);
		unmap(2);
		copy(&s, "123");
		assert_string_equal(trace, "+0123-12+3");
		if (again) {
			map_again(1);
			map_again(2);
			copy(&s, "1");
			freeze(&s, "");
			assert_int_equal(rest(&s, &e), 0);
			assert_int_equal(fd_wait(sender_idle_fd(s.sender), POLLIN, deadline_in_ms(5000)), 0);
			assert_string_equal(trace, "+0123-12+3+1|+2");
		} else {
			freeze(&s, "");
			assert_int_equal(rest(&s, &e), -EFAULT);
		}
		tear_down(&s);
	}
}

static void assert_fails(struct scene *s)
{
	struct err e = ERR_INIT;

	assert_int_equal(fd_wait(sender_event_fd(s->sender), POLLIN, deadline_in_ms(5000)), 0);
	assert_int_equal(sender_result(s->sender, &e), -EFAULT);
}

static void what_can_not_be_read_frozen_is_an_error_if_it_is_lazy(void **state)
{
	static const struct {
		uint64_t ahead;
		const char *trace;
	} cases[] = {{0, "+0123-12|+1"}, {PAGES_TO_BYTES(8), "+0123+1-2|"}};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = ERR_INIT;
		struct scene s;

		set_up(&s, &running);
		copy(&s, "0123");
		unmap(2);
		s.copier.ahead_bytes = cases[i / 2].ahead;
		freeze(&s, "12");
		assert_string_equal(trace, cases[i / 2].trace);
		if (i % 2)
			map_again(2);
		assert_int_equal(rest(&s, &e), 0);
		if (i % 2 == 0)
			assert_fails(&s);
		else
			assert_int_equal(fd_wait(sender_idle_fd(s.sender), POLLIN, deadline_in_ms(5000)), 0);
		assert_int_equal(strlen(trace), strlen(cases[i / 2].trace) + (i % 2 ? 2 : 0));
		tear_down(&s);
	}
}

static void it_is_stopped_for_those_that_need_it_alone(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s, &running);
	copy(&s, "0");
	assert_false(fake.was_frozen);
	assert_int_equal(s.copier.stopped_ns, 0);
	tear_down(&s);
	set_up(&s, &stopping);
	copy(&s, "0");
	assert_true(fake.was_frozen);
	assert_true(s.copier.stopped_ns > 0);
	tear_down(&s);
}

static void it_goes_on_also_when_the_look_fails(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct scene s;
	struct err e = ERR_INIT;
	uint64_t bytes;

	(void)state;
	set_up(&s, &stopping);
	fake.written = "";
	fake.error = -EIO;
	assert_int_equal(copier_look(&s.copier, &bytes, &e), -EIO);
	assert_true(fake.was_frozen);
	text = freeze_file();
	assert_int_equal(text[0], '0');
	tear_down(&s);
}

static void what_somebody_else_has_frozen_stays_so(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct scene s;
	struct throttle *throttle;
	struct err e = ERR_INIT;
	uint64_t bytes;

	(void)state;
	set_up(&s, &stopping);
	copy(&s, "0");
	scratch_file(s.cgroup, "cgroup.freeze", "1\n", 2);
	fake.was_frozen = false;
	assert_int_equal(copier_look(&s.copier, &bytes, &e), -EBUSY);
	assert_int_equal(e.class, ERR_REFUSED);
	assert_false(fake.was_frozen);
	assert_int_equal(throttle_new(s.cgroup, 10, &throttle, &e), 0);
	usleep(50000);
	throttle_free(throttle);
	text = freeze_file();
	assert_int_equal(text[0], '1');
	tear_down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_no_longer_holds_is_taken_back_before_the_cut),
		cmocka_unit_test(little_is_sent_anew_before_the_cut),
		cmocka_unit_test(what_was_seen_and_not_sent_follows_the_cut),
		cmocka_unit_test(the_rest_is_what_the_target_lacks),
		cmocka_unit_test(what_was_skipped_is_not_had),
		cmocka_unit_test(what_can_not_be_read_frozen_is_an_error_if_it_is_lazy),
		cmocka_unit_test(it_is_stopped_for_those_that_need_it_alone),
		cmocka_unit_test(it_goes_on_also_when_the_look_fails),
		cmocka_unit_test(what_somebody_else_has_frozen_stays_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
