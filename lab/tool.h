/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <signal.h>
#include <stdint.h>
#include <time.h>

/* What the lab's tools have in common: they work until a signal, and tell times in nanoseconds. */

static volatile sig_atomic_t ended;

static inline void on_signal(int sig)
{
	(void)sig;
	ended = 1;
}

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
