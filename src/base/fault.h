/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

/*
 * Named points at which a build for tests (meson's option "faults") fails when it is told to, each
 * once. In every other build a point is nothing.
 *
 * It is told by FAULT_FILE, which has a line "POINT KIND" for each fault that is to come; whoever comes
 * to that point takes the line out. Kinds:
 *
 *   kill   the process ends by SIGKILL
 *   error  FAULT() is an error
 *   clock  the wall clock of the process is a day ahead
 *   stop   the thread writes its pid to FAULT_FILE.POINT and stands still until somebody removes
 *          that, FAULT_STOP_MS at most: what else can fail is the test's to do meanwhile
 */

#define FAULT_FILE "/run/godwit-fault"
#define FAULT_STOP_MS 30000

enum fault_point {
#define FAULT_POINT(name, kinds) FAULT_AT_##name,
#include "base/fault_points.h"
#undef FAULT_POINT
	FAULT_POINTS
};

enum fault_kind { FAULT_NONE, FAULT_KILL, FAULT_ERROR, FAULT_CLOCK, FAULT_STOP };

/* Takes what is to come at @at out of @text, which is a fault file's. -EINVAL when there is a point
 * or a kind that isn't known, or an error where nothing can fail. */
int fault_take(char *text, enum fault_point at);

/* 0, or -EIO and @e (NULL is fine). A file that can't be understood ends the process. */
int fault_here(enum fault_point at, struct err *e);

/* Nanoseconds by which a fault has set the wall clock forward. */
long long fault_clock_ahead(void);

static inline int fault_none(void)
{
	return 0;
}

#ifdef GODWIT_FAULTS
#define FAULT(point, e) fault_here(FAULT_AT_##point, e)
#else
#define FAULT(point, e) fault_none()
#endif
