/* SPDX-License-Identifier: Apache-2.0 */
/* A cgroup's rhythm, with a cpu.stat of our own that a thread writes. */
#include "unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "oci/cgroup_rhythm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define WORK_US 2000u
#define SOON 20000

struct worker {
	char *dir;
	int stat;
	pthread_t thread;
	unsigned every_ms; /* a turn; 0: it never works */
	_Atomic uint64_t used;
	atomic_bool stop;
};

static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

static void note(struct worker *w)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "usage_usec %020llu\nuser_usec 1\n", (unsigned long long)w->used);

	assert_int_equal(pwrite(w->stat, text, (size_t)n, 0), n);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!w->stop) {
		sleep_ms(w->every_ms);
		w->used += WORK_US;
		note(w);
	}
	return NULL;
}

static void worker_start(struct worker *w)
{
	char path[256];

	w->dir = scratch_make();
	snprintf(path, sizeof(path), "%s/cpu.stat", w->dir);
	w->stat = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	note(w);
	if (w->every_ms > 0)
		assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
}

static void worker_end(struct worker *w)
{
	w->stop = true;
	if (w->every_ms > 0)
		pthread_join(w->thread, NULL);
	close(w->stat);
	scratch_remove(w->dir);
}

/* As long as it takes on a machine that is busy with something else. */
static void learn(struct cgroup_rhythm *r, const char *dir)
{
	uint64_t deadline = deadline_in_ms(SOON);

	do {
		cgroup_rhythm_done(r);
		*r = CGROUP_RHYTHM_INIT;
		cgroup_rhythm_learn(r, dir);
		sleep_ms(250);
		cgroup_rhythm_await(r);
	} while (r->turn_ns == 0 && !deadline_passed(deadline));
	assert_int_not_equal(r->turn_ns, 0);
}

static void turns_are_awaited(void **state)
{
	struct worker w = {.every_ms = 10};
	struct cgroup_rhythm r = CGROUP_RHYTHM_INIT;
	uint64_t start, before;

	(void)state;
	worker_start(&w);
	learn(&r, w.dir);
	assert_true(r.turn_ns >= 5 * NSEC_PER_MSEC);
	assert_in_range(r.work_us, WORK_US, 4 * WORK_US);
	start = clock_now();
	before = w.used;
	cgroup_rhythm_await(&r);
	/* It has worked, or it was waited for longer than a turn. */
	assert_true(w.used > before || clock_now() - start > r.turn_ns);
	cgroup_rhythm_done(&r);
	worker_end(&w);
}

static void who_does_not_work_has_none(void **state)
{
	struct worker w = {0};
	struct cgroup_rhythm r = CGROUP_RHYTHM_INIT;

	(void)state;
	worker_start(&w);
	cgroup_rhythm_learn(&r, w.dir);
	sleep_ms(250);
	cgroup_rhythm_await(&r);
	assert_int_equal(r.turn_ns, 0);
	cgroup_rhythm_done(&r);
	worker_end(&w);
}

static void without_a_cgroup_there_is_none(void **state)
{
	struct cgroup_rhythm r = CGROUP_RHYTHM_INIT;

	(void)state;
	cgroup_rhythm_await(&r);
	cgroup_rhythm_learn(&r, "/nowhere");
	cgroup_rhythm_await(&r);
	assert_int_equal(r.turn_ns, 0);
	cgroup_rhythm_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_are_awaited),
		cmocka_unit_test(who_does_not_work_has_none),
		cmocka_unit_test(without_a_cgroup_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
