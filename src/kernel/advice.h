/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Has a process of a cgroup, or of one below, called madvise(2) or process_madvise(2)? The kernel counts the ends of
 * these calls (perf_event_open(2), tracepoints sys_exit_madvise and sys_exit_process_madvise, one counter a
 * processor): one that has changed something since the count began has ended before its thread can be frozen.
 * Not counted: calls of 32-bit code, which these tracepoints leave out, and io_uring's.
 */

struct advice_count {
	int *fds; /* owned */
	size_t n;
};

#define ADVICE_COUNT_INIT ((struct advice_count){0})

/* Begins to count, which takes some milliseconds. @tracing: a directory for a tracefs, made and mounted here if
 * it isn't yet. -errno, where the kernel has none of it, say. */
int advice_count_start(struct advice_count *c, const char *cgroup, const char *tracing);

/* How many calls have ended; or -errno, also when nothing is counted. */
int advice_count_read(const struct advice_count *c, uint64_t *ret);

/* Waits for some tens of milliseconds. */
void advice_count_done(struct advice_count *c);
