/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "mem/plan.h"

#define MB 1000000ull
#define MS 1000000ull

static const struct plan_limits hybrid = {.hybrid = true};
static const struct plan_limits throttled = {.max_downtime_ns = 200 * MS, .throttle = true};
static const struct plan_limits pre = {.max_downtime_ns = 200 * MS};

/* Plays rounds of a container that writes @dirty bytes a second over a link of @link bytes a second,
 * never more than @working_set of them, and less when it is throttled; returns how many rounds the
 * plan wanted. */
static size_t play(uint64_t memory, uint64_t dirty, uint64_t link, uint64_t working_set,
	const struct plan_limits *limits, struct plan *ret)
{
	struct plan_round r[PLAN_ROUNDS_MAX];
	uint64_t bytes = memory;

	*ret = (struct plan){.step = PLAN_COPY};
	for (size_t n = 0; n < PLAN_ROUNDS_MAX; n++) {
		uint64_t ns = bytes * 1000 * MS / link + 1;
		uint64_t left = dirty * (100 - ret->throttle) / 100 * (ns / 1000) / 1000000;

		if (left > working_set)
			left = working_set;
		r[n] = (struct plan_round){.bytes = bytes, .ns = ns, .left = left,
			.throttle = ret->throttle};
		*ret = plan_next(r, n + 1, limits);
		if (ret->step != PLAN_COPY)
			return n + 1;
		bytes = left;
	}
	return PLAN_ROUNDS_MAX + 1;
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
	struct plan p;

	(void)state;
	/* 15 % less in each round, of something huge. */
	assert_int_equal(play(10000 * MB, 17 * MB / 2, 10 * MB, UINT64_MAX, &hybrid, &p),
		PLAN_ROUNDS_MAX);
	assert_int_equal(p.step, PLAN_FREEZE);
	assert_int_equal(play(10000 * MB, 17 * MB / 2, 10 * MB, UINT64_MAX, &throttled, &p),
		PLAN_ROUNDS_MAX);
	assert_int_equal(p.step, PLAN_GIVE_UP);
}

static void a_container_that_outruns_the_link_is_throttled_until_it_does_not(void **state)
{
	struct plan p;

	(void)state;
	play(1000 * MB, 200 * MB, 100 * MB, 100000 * MB, &throttled, &p);
	assert_int_equal(p.step, PLAN_FREEZE);
	assert_in_range(p.throttle, 60, 80);
	/* A fifth of this is still more than the link moves. */
	play(1000 * MB, 600 * MB, 100 * MB, 100000 * MB, &throttled, &p);
	assert_int_equal(p.step, PLAN_GIVE_UP);
	assert_int_equal(p.throttle, 80);
	/* No more than is needed. */
	play(1000 * MB, 20 * MB, 100 * MB, 100000 * MB, &throttled, &p);
	assert_int_equal(p.throttle, 0);
}

static void what_goes_frozen_anyway_counts(void **state)
{
	const struct plan_limits much = {
		.max_downtime_ns = 200 * MS, .eager_bytes = 50 * MB, .throttle = true};
	const struct plan_limits hybrid_much = {.eager_bytes = 50 * MB, .hybrid = true};
	const struct plan_round r[] = {{.bytes = 100 * MB, .ns = 1000 * MS, .left = 0}};
	struct plan p = plan_next(r, 1, &much);

	(void)state;
	assert_int_equal(p.step, PLAN_GIVE_UP);
	assert_true(p.predicted_ms > 499 && p.predicted_ms < 501);
	p = plan_next(r, 1, &hybrid_much);
	assert_int_equal(p.step, PLAN_FREEZE);
	assert_true(p.predicted_ms > 499 && p.predicted_ms < 501);
}

static void a_working_set_that_shrinks_is_followed(void **state)
{
	const struct plan_round r[] = {
		{.bytes = 1000 * MB, .ns = 10000 * MS, .left = 400 * MB},
		{.bytes = 400 * MB, .ns = 4000 * MS, .left = 390 * MB},
		{.bytes = 390 * MB, .ns = 3900 * MS, .left = 100 * MB},
		{.bytes = 100 * MB, .ns = 1000 * MS, .left = 1 * MB / 2},
	};

	(void)state;
	for (size_t n = 1; n <= 3; n++)
		assert_int_equal(plan_next(r, n, &pre).step, PLAN_COPY);
	assert_int_equal(plan_next(r, 4, &pre).step, PLAN_FREEZE);
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
		cmocka_unit_test(a_container_that_outruns_the_link_is_throttled_until_it_does_not),
		cmocka_unit_test(what_goes_frozen_anyway_counts),
		cmocka_unit_test(a_working_set_that_shrinks_is_followed),
		cmocka_unit_test(one_burst_does_not_end_the_copy),
		cmocka_unit_test(tiny_rounds_say_nothing_about_the_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
