/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/ranges.h"
#include "mem/space.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Which memory of running processes has been written since it was last looked at. Two backends:
 *
 * write-protect (Linux 6.7): a userfaultfd in each process, asynchronous write protection and
 * PAGEMAP_SCAN, which returns what was written and protects it again in one step. Nothing stops.
 *
 * soft-dirty (CONFIG_MEM_SOFT_DIRTY): what was written is read and then marked anew, two steps,
 * between which the processes must stand still.
 *
 * A page is marked before it is read, so what is read later and not reported by the next scan is
 * what the process has. What can't be tracked (a traced process, memory that refuses registration,
 * direct I/O, which writes past the page tables) is reported as written by every scan. Freeing a
 * tracker, or dying, leaves nothing in the processes that changes what they do.
 */

struct tracker;

/* One process in one scan. */
struct tracked {
	const struct process *process; /* valid until the next scan, or tracker_free() */
	struct ranges written; /* private anonymous memory: since the last scan; in the first one all */
	bool untracked;	       /* all it has is reported each time */
};

struct tracker_scan {
	struct tracked *v; /* owned */
	size_t n;
	uint64_t pages; /* all that is reported */
};

#define TRACKER_SCAN_INIT ((struct tracker_scan){0})

/* The first backend that works here; @backend: that one alone, "write-protect" or "soft-dirty".
 * -ENOSYS when the kernel can't. */
int tracker_new(const char *backend, struct tracker **ret, struct err *e);

/* Is there a backend of that name? */
bool tracker_exists(const char *backend);

const char *tracker_backend(const struct tracker *t);

/* The processes must not run during tracker_scan(), and no new ones appear. */
bool tracker_needs_stop(const struct tracker *t);

/* Looks at processes @pids: all that the container has now. No thread may read their memory
 * meanwhile. One that has ended is left out, and one that is still in its parent's address space
 * (vfork(2)) unless it is the last time. @last: they are frozen and it is the last time; new ones aren't attached to
 * any more, which would need them to run. *ret ends with tracker_scan_done(). */
int tracker_scan(struct tracker *t, const pid_t *pids, size_t n, bool last, struct tracker_scan *ret,
	struct err *e);

/* Between scans: registers what has come up next to a region that is registered already. Until then the kernel
 * has them apart, and mremap(2) of both fails. The next scan reports all of it. A scan ends with that, too. */
void tracker_join(struct tracker *t);

void tracker_scan_done(struct tracker_scan *s);

/* Ends the tracking. NULL is fine. */
void tracker_free(struct tracker *t);
