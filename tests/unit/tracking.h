/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "unit.h"

#include "mem/tracker.h"

#define ATTEMPTS 50

/* A tracker that tracks a process, whose first scan is in *scan. Attaching gives up where the process doesn't come to a
 * stop in time, as on a busy machine: then it is tried again. */
static inline struct tracker *track(const char *backend, pid_t pid, struct tracker_scan *scan)
{
	struct err e = ERR_INIT;

	for (int i = 0; i < ATTEMPTS; i++) {
		struct tracker *t;

		assert_int_equal(tracker_new(backend, &t, &e), 0);
		assert_int_equal(tracker_scan(t, &pid, 1, false, scan, &e), 0);
		assert_int_equal(scan->n, 1);
		if (!scan->v[0].untracked)
			return t;
		tracker_scan_done(scan);
		tracker_free(t);
	}
	fail_msg("attaching gave up %d times", ATTEMPTS);
	return NULL;
}
