/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Time as nanoseconds of CLOCK_MONOTONIC, and deadlines: every wait in godwit has one.
 * A deadline is an absolute monotonic time; DEADLINE_NEVER only for waits that another
 * deadline or a hang-up ends.
 */

#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_SEC 1000000000ull
#define DEADLINE_NEVER UINT64_MAX

uint64_t clock_now(void);

/* Processor time that this thread has used. */
uint64_t clock_thread(void);

/* CLOCK_REALTIME in nanoseconds, for reports and file names only: it may step. */
uint64_t clock_wall(void);

static inline uint64_t deadline_in_ms(uint64_t ms)
{
	return clock_now() + ms * NSEC_PER_MSEC;
}

bool deadline_passed(uint64_t deadline);

/* The wall clock of a monotonic time, in seconds since 1970, as of now. */
double clock_wall_of(uint64_t monotonic);

/* Remaining time as poll(2) wants it: rounded up to ms, 0 when passed, -1 for never. */
int deadline_poll_ms(uint64_t deadline);

/* b - a in milliseconds as a double, 0 when either is 0 or b < a (a phase that did not happen). */
double clock_diff_ms(uint64_t a, uint64_t b);
