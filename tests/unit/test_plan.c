/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "mem/plan.h"

#define MB 1000000ull
#define MS 1000000ull

static const struct plan_limits hybrid = {.enough_ns = 10 * MS, .max_rounds = 30, .hybrid = true};
static const struct plan_limits pre = {.enough_ns = 10 * MS, .max_downtime_ns = 200 * MS, .max_rounds = 30};

/* Plays rounds of a container that writes @dirty bytes a second over a link of @link bytes a second,
 * never more than @working_set of them; returns how many rounds the plan wanted. */
static size_t play(uint64_t memory, uint64_t dirty, uint64_t link, uint64_t working_set,
	const struct plan_limits *limits, struct plan *ret)
{
	struct plan_round r[64];
	uint64_t bytes = memory;

	for (size_t n = 0; n < 64; n++) {
		uint64_t ns = bytes * 1000 * MS / link + 1;
		uint64_t left = dirty * (ns / 1000) / 1000000;

		if (left > working_set)
			left = working_set;
		r[n] = (struct plan_round){.bytes = bytes, .ns = ns, .left = left};
		*ret = plan_next(r, n + 1, limits);
		if (ret->step != PLAN_COPY)
			return n + 1;
		bytes = left;
	}
	return 64;
}

static void idle_takes_one_round(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(play(100 * MB, 0, 100 * MB, 0, &hybrid, &p), 1);
	assert_int_equal(p.step, PLAN_FREEZE);
	assert_true(p.predicted_ms == 0);
}

static void steady_writing_shrinks_until_it_fits(void **state)
{
	struct plan p;

	(void)state;
	assert_in_range(play(1000 * MB, 20 * MB, 500 * MB, 1000 * MB, &pre, &p), 2, 4);
	assert_int_equal(p.step, PLAN_FREEZE);
	assert_true(p.predicted_ms <= 10);
}

static void a_small_working_set_fits_at_once(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(play(1000 * MB, 500 * MB, 400 * MB, 2 * MB, &pre, &p), 1);
	assert_int_equal(p.step, PLAN_FREEZE);
}

static void writing_faster_than_the_link_ends_the_copy(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(play(1000 * MB, 200 * MB, 100 * MB, 100000 * MB, &hybrid, &p), 2);
	assert_int_equal(p.step, PLAN_FREEZE);
	assert_int_equal(play(1000 * MB, 200 * MB, 100 * MB, 100000 * MB, &pre, &p), 2);
	assert_int_equal(p.step, PLAN_GIVE_UP);
	assert_non_null(p.reason);
	assert_true(p.dirty_rate > p.rate);
}

/* As a game server at 60 Hz does. */
static void a_remainder_that_stays_the_same_but_is_small_is_fine(void **state)
{
	const struct plan_round r[] = {
		{.bytes = 60 * MB, .ns = 300 * MS, .left = 4 * MB},
		{.bytes = 4 * MB, .ns = 20 * MS, .left = 4 * MB},
		{.bytes = 4 * MB, .ns = 20 * MS, .left = 4 * MB},
	};

	(void)state;
	assert_int_equal(plan_next(r, 1, &pre).step, PLAN_COPY);
	assert_int_equal(plan_next(r, 3, &pre).step, PLAN_FREEZE);
}

static void rounds_are_limited(void **state)
{
	const struct plan_limits few = {.max_rounds = 4, .hybrid = true};
	struct plan p;

	(void)state;
	assert_int_equal(play(1000 * MB, 50 * MB, 100 * MB, 1000 * MB, &few, &p), 4);
	assert_int_equal(p.step, PLAN_FREEZE);
}

static void one_burst_does_not_end_the_copy(void **state)
{
	const struct plan_round r[] = {
		{.bytes = 100 * MB, .ns = 1000 * MS, .left = 10 * MB},
		{.bytes = 10 * MB, .ns = 100 * MS, .left = 60 * MB},
		{.bytes = 60 * MB, .ns = 600 * MS, .left = 6 * MB},
	};

	(void)state;
	for (size_t n = 1; n <= 3; n++)
		assert_int_equal(plan_next(r, n, &pre).step, PLAN_COPY);
}

static void tiny_rounds_say_nothing_about_the_link(void **state)
{
	const struct plan_round r[] = {
		{.bytes = 100 * MB, .ns = 1000 * MS, .left = 2 * MB},
		{.bytes = 4096, .ns = 5 * MS, .left = 500000},
	};

	(void)state;
	assert_true(plan_next(r, 2, &pre).rate > 99e6);
	assert_int_equal(plan_next(r, 2, &pre).step, PLAN_FREEZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_takes_one_round),
		cmocka_unit_test(steady_writing_shrinks_until_it_fits),
		cmocka_unit_test(a_small_working_set_fits_at_once),
		cmocka_unit_test(writing_faster_than_the_link_ends_the_copy),
		cmocka_unit_test(a_remainder_that_stays_the_same_but_is_small_is_fine),
		cmocka_unit_test(rounds_are_limited),
		cmocka_unit_test(one_burst_does_not_end_the_copy),
		cmocka_unit_test(tiny_rounds_say_nothing_about_the_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
