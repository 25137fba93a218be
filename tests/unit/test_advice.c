/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "kernel/advice.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CALLS 5
#define CAN_NOT 77 /* this machine, or whoever runs the test */

static void advise(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < CALLS; i++)
		madvise(p, 4096, i % 2 ? MADV_DOFORK : MADV_DONTFORK);
	munmap(p, 4096);
}

/* How many calls a count in @cgroup has of ours; or -1. */
static int64_t counted(const char *cgroup, const char *tracing)
{
	struct advice_count c;
	uint64_t before = 0, after = 0;
	int64_t ret = -1;

	if (advice_count_start(&c, cgroup, tracing) == 0 && advice_count_read(&c, &before) == 0) {
		advise();
		if (advice_count_read(&c, &after) == 0)
			ret = (int64_t)(after - before);
	}
	advice_count_done(&c);
	return ret;
}

/* With a mount namespace of its own. */
static int child_main(const char *tracing)
{
	char own[PATH_MAX], empty[PATH_MAX + 32];
	int64_t here, there;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0 ||
		cgroup_own(own, sizeof(own)) < 0)
		return CAN_NOT;
	snprintf(empty, sizeof(empty), "%s/godwit-unit-%d", own, getpid());
	if (mkdir(empty, 0700) < 0)
		return CAN_NOT;
	here = counted(own, tracing);
	there = counted(empty, tracing);
	rmdir(empty);
	if (here < 0)
		return CAN_NOT;
	/* Others may be in our cgroup, and nobody is in the new one. */
	return here >= CALLS && there == 0 ? 0 : 1;
}

static void calls_of_a_cgroup_are_counted(void **state)
{
	char *dir = scratch_make(), tracing[64];
	int status = 0;
	pid_t child;

	(void)state;
	snprintf(tracing, sizeof(tracing), "%s/tracing", dir);
	child = fork();
	if (child == 0)
		_exit(child_main(tracing));
	assert_int_equal(waitpid(child, &status, 0), child);
	scratch_remove(dir);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CAN_NOT)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_is_not_counted_is_an_error(void **state)
{
	struct advice_count c = ADVICE_COUNT_INIT;
	uint64_t n;

	(void)state;
	assert_int_equal(advice_count_read(&c, &n), -ENODATA);
	assert_int_equal(advice_count_start(&c, "/nowhere", "/nowhere"), -ENOENT);
	assert_int_equal(advice_count_read(&c, &n), -ENODATA);
	advice_count_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_of_a_cgroup_are_counted),
		cmocka_unit_test(what_is_not_counted_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
