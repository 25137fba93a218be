/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_thread(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_wall(void)
{
	return read_clock(CLOCK_REALTIME);
}

double clock_wall_of(uint64_t monotonic)
{
	return ((double)clock_wall() - (double)clock_now() + (double)monotonic) / NSEC_PER_SEC;
}

bool deadline_passed(uint64_t deadline)
{
	return deadline != DEADLINE_NEVER && clock_now() >= deadline;
}

int deadline_poll_ms(uint64_t deadline)
{
	uint64_t now, ms;

	if (deadline == DEADLINE_NEVER)
		return -1;
	now = clock_now();
	if (now >= deadline)
		return 0;
	ms = (deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

double clock_diff_ms(uint64_t a, uint64_t b)
{
	if (a == 0 || b <= a)
		return 0;
	return (double)(b - a) / (double)NSEC_PER_MSEC;
}
