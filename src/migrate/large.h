/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "kernel/advice.h"
#include "mem/smaps.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Processes with more than a few MB of memory: spares CRIU, and the freeze, what it would do with each of their pages
 * in a lazy dump (criu/view.h).
 *
 * Before the freeze their regions are read, with flags. In the freeze it is seen that they are the
 * same still, or they are read anew, as CRIU would. CRIU is shown what was read, and godwit lists the
 * pages itself. What an application advised about a whole region in that moment (madvise(2)) leaves no
 * trace in the list of regions. Therefore calls are counted (kernel/advice.h), and if there were any, or
 * it can't be said, the flags are read again, which takes 12 ms per GB: of a small process in the freeze,
 * else while the target restores. If they have changed then, what it restores is not what there is.
 */

struct large_process {
	pid_t pid;
	uint32_t vpid;	       /* once its pages are listed */
	uint64_t size;	       /* bytes in memory and in swap, before the freeze */
	uint64_t locked;       /* bytes that mlock(2) keeps in memory */
	struct smaps smaps;    /* before the freeze, or in it */
	bool is_current;       /* in it: nothing of that can have changed since */
	struct ranges spared;  /* the regions that CRIU doesn't look into */
	struct ranges pages;   /* of those, what exists */
};

struct large {
	struct large_process *v; /* owned */
	size_t n;
	struct advice_count count; /* up to the freeze */
	pthread_t counter, verifier;
	bool counting, uncounting, verifying;
	bool quiet;   /* there was no such call */
	bool advised; /* flags have changed */
};

#define LARGE_INIT ((struct large){0})

/* Looks for them in @cgroup while they run, and makes memory ready for what CRIU will take for each.
 * One that can't be read is left to CRIU. */
int large_look(struct large *l, const char *cgroup, struct err *e);

/* The container is frozen, and CRIU hasn't looked yet: narrows its view, except of processes whose
 * regions have changed. */
int large_narrow(struct large *l, struct err *e);

/* Lists the pages, while CRIU is at work or later. */
int large_list(struct large *l, struct err *e);

/* CRIU's images are complete: adds them. */
int large_add(const struct large *l, const char *images, struct err *e);

/* Begins to read the flags again if that is needed, beside what the caller does next. CRIU is done with the
 * processes, and they stay frozen. */
int large_verify(struct large *l, struct err *e);

/* Waits for that. Has an application advised something about its memory between large_look() and the
 * freeze, or can't it be said? */
bool large_was_advised(struct large *l);

void large_done(struct large *l);
