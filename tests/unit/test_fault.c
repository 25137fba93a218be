/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "base/fault.h"

#include <errno.h>
#include <ftw.h>

static const char *const names[FAULT_POINTS] = {
#define FAULT_POINT(name, kinds) #name,
#include "base/fault_points.h"
#undef FAULT_POINT
};

static unsigned uses[FAULT_POINTS];

static int count_uses(const char *path, const struct stat *st, int type)
{
	_cleanup_free_ char *text = NULL;
	size_t len = strlen(path);

	(void)st;
	if (type != FTW_F || len < 2 || strcmp(path + len - 2, ".c") != 0)
		return 0;
	assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
	for (int i = 0; i < FAULT_POINTS; i++) {
		char use[80];

		snprintf(use, sizeof(use), "FAULT(%s,", names[i]);
		for (const char *p = text; (p = strstr(p, use)); p++)
			uses[i]++;
	}
	return 0;
}

/* One that isn't in the table doesn't compile. */
static void every_point_of_the_table_is_at_one_place_of_the_code(void **state)
{
	(void)state;
	assert_int_equal(ftw(TEST_ROOT "/../src", count_uses, 16), 0);
	for (int i = 0; i < FAULT_POINTS; i++)
		if (uses[i] != 1)
			fail_msg("%s is at %u places", names[i], uses[i]);
}

static void a_fault_is_taken_once_by_its_point(void **state)
{
	char text[] = "source_frozen kill\nkeeper_page_put stop\nsource_frozen error\ntarget_drained clock";

	(void)state;
	assert_int_equal(fault_take(text, FAULT_AT_source_dumped), FAULT_NONE);
	assert_int_equal(fault_take(text, FAULT_AT_keeper_page_put), FAULT_STOP);
	assert_int_equal(fault_take(text, FAULT_AT_keeper_page_put), FAULT_NONE);
	assert_int_equal(fault_take(text, FAULT_AT_source_frozen), FAULT_KILL);
	assert_string_equal(text, "source_frozen error\ntarget_drained clock");
	assert_int_equal(fault_take(text, FAULT_AT_source_frozen), FAULT_ERROR);
	assert_int_equal(fault_take(text, FAULT_AT_target_drained), FAULT_CLOCK);
	assert_string_equal(text, "");
	assert_int_equal(fault_take(text, FAULT_AT_target_drained), FAULT_NONE);
}

/* Whoever comes to any point says so. */
static void what_is_not_known_is_refused(void **state)
{
	static const char *const wrong[] = {
		"source_melted kill\n",
		"source_frozen\n",
		"source_frozen melt\n",
		"source_frozen kill please\n",
		"source_frozen kill\nsource_frozen\n",
		"\n",
		/* Nothing can fail there: the container runs. */
		"target_gate_open error\n",
	};
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "%s", wrong[i]);
		assert_int_equal(fault_take(text, FAULT_AT_target_drained), -EINVAL);
		assert_string_equal(text, wrong[i]);
	}
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(fault_take(text, FAULT_AT_target_drained), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_point_of_the_table_is_at_one_place_of_the_code),
		cmocka_unit_test(a_fault_is_taken_once_by_its_point),
		cmocka_unit_test(what_is_not_known_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
