/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPACE 200

/* The model: one byte of a map per address. */
static void assert_equals_model(const struct ranges *r, const bool model[static SPACE])
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->n; i++) {
		assert_true(r->v[i].start < r->v[i].end);
		if (i > 0)
			assert_true(r->v[i - 1].end < r->v[i].start);
	}
	for (uint64_t a = 0; a < SPACE; a++) {
		assert_int_equal(ranges_find(r, a) != NULL, model[a]);
		sum += model[a];
	}
	assert_int_equal(ranges_bytes(r), sum);
}

static void random_changes_match_the_model(void **state)
{
	(void)state;
	srandom(7);
	for (int round = 0; round < 300; round++) {
		_cleanup_ranges_ struct ranges r = RANGES_INIT;
		bool model[SPACE] = {0};

		for (int step = 0; step < 40; step++) {
			uint64_t a = (uint64_t)random() % (SPACE - 1);
			uint64_t b = a + 1 + (uint64_t)random() % (SPACE - a - 1) / 4;
			bool add = random() % 3 != 0;

			assert_int_equal(add ? ranges_add(&r, a, b) : ranges_subtract(&r, a, b), 0);
			memset(&model[a], add, b - a);
			assert_equals_model(&r, model);
		}
	}
}

static void difference_matches_the_model(void **state)
{
	(void)state;
	srandom(8);
	for (int round = 0; round < 300; round++) {
		_cleanup_ranges_ struct ranges a = RANGES_INIT, b = RANGES_INIT, d = RANGES_INIT;
		bool model[SPACE] = {0};

		for (int i = 0; i < 10; i++) {
			uint64_t at = (uint64_t)random() % (SPACE - 20);

			ranges_add(&a, at, at + 1 + (uint64_t)random() % 19);
			at = (uint64_t)random() % (SPACE - 20);
			ranges_add(&b, at, at + 1 + (uint64_t)random() % 9);
		}
		for (uint64_t i = 0; i < SPACE; i++)
			model[i] = ranges_find(&a, i) && !ranges_find(&b, i);
		assert_int_equal(ranges_difference(&a, &b, &d), 0);
		assert_equals_model(&d, model);
	}
}

static void sets_match_the_model(void **state)
{
	(void)state;
	srandom(3);
	for (int round = 0; round < 200; round++) {
		_cleanup_ranges_ struct ranges a = RANGES_INIT, b = RANGES_INIT, both = RANGES_INIT;
		bool in_a[SPACE] = {0}, in_b[SPACE] = {0}, model[SPACE];

		for (int i = 0; i < 10; i++) {
			uint64_t at = (uint64_t)random() % (SPACE - 20);

			ranges_add(i % 2 ? &a : &b, at, at + 1 + (uint64_t)random() % 19);
		}
		for (uint64_t i = 0; i < SPACE; i++) {
			in_a[i] = ranges_find(&a, i);
			in_b[i] = ranges_find(&b, i);
			model[i] = in_a[i] && in_b[i];
		}
		assert_int_equal(ranges_intersection(&a, &b, &both), 0);
		assert_equals_model(&both, model);
		assert_int_equal(ranges_unite(&both, &a), 0);
		assert_equals_model(&both, in_a);
		assert_int_equal(ranges_unite(&both, &b), 0);
		assert_int_equal(ranges_remove(&both, &a), 0);
		for (uint64_t i = 0; i < SPACE; i++)
			model[i] = in_b[i] && !in_a[i];
		assert_equals_model(&both, model);
	}
}

static void edges(void **state)
{
	_cleanup_ranges_ struct ranges r = RANGES_INIT;

	(void)state;
	assert_int_equal(ranges_add(&r, 5, 5), -EINVAL);
	assert_null(ranges_find(&r, 0));
	assert_int_equal(ranges_add(&r, 10, 20), 0);
	assert_int_equal(ranges_add(&r, 20, 30), 0);
	assert_int_equal(r.n, 1);
	assert_true(ranges_contain(&r, 10, 30));
	assert_false(ranges_contain(&r, 10, 31));
	assert_false(ranges_contain(&r, 9, 10));
	assert_null(ranges_find(&r, 30));
	assert_int_equal(ranges_subtract(&r, 30, 40), 0);
	assert_int_equal(ranges_bytes(&r), 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_changes_match_the_model),
		cmocka_unit_test(difference_matches_the_model),
		cmocka_unit_test(sets_match_the_model),
		cmocka_unit_test(edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
