/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "mem/tracker.h"

/* What a tracker's backend is, for those that are one; a test may bring its own. */

/* A populated page and what /proc/PID/pagemap says of where its contents are. */
struct frame {
	uint64_t addr, place;
};

struct frames {
	struct frame *v; /* owned; ascending */
	size_t n, cap;
};

/* A process that has been seen. */
struct seen {
	struct process process;
	int pidfd; /* owned: tells it from a later one with its pid */
	bool is_new, ended;
	bool shares_memory; /* with another, which is the one that is tracked */
	int uffd;	      /* write-protect; owned, -1: not attached */
	struct ranges joined; /* write-protect: since the last scan */
	struct frames frames; /* soft-dirty: as of the last mark */
};

struct tracker_backend {
	const char *name;
	bool needs_stop;
	/* Tries it on this process: 0, or -errno. */
	int (*probe)(void);
	/* Adds to @ret what was written, and marks it anew. */
	int (*scan)(struct seen *s, bool last, struct tracked *ret);
	/* As tracker_join(), of one process; NULL: nothing is cut. */
	int (*join)(struct seen *s);
};

extern const struct tracker_backend tracker_write_protect, tracker_soft_dirty;

int tracker_new_with(const struct tracker_backend *b, struct tracker **ret, struct err *e);

/* All that the process has; for what can't be tracked. */
int tracked_all(const struct seen *s, struct tracked *ret);
