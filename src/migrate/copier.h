/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/sender.h"
#include "mem/space.h"
#include "mem/tracker.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What of a container's memory the target has: sends it while the container runs and tells, when it
 * stands still, what of that no longer holds.
 */

/* Of one process, by its pid in the container. */
struct copied {
	uint32_t vpid;
	const struct process *process; /* as the last scan saw it */
	struct ranges sent;  /* and not known to have been written since */
	struct ranges dirty; /* to be sent */
	struct ranges skipped; /* could not be read while it ran, and isn't in sent for that */
};

struct copier {
	struct sender *sender;	 /* borrowed */
	struct tracker *tracker; /* owned; NULL: everything is sent frozen */
	char cgroup[4096];
	struct copied *v; /* owned */
	size_t n;
	struct space space; /* of the frozen processes */
	unsigned rounds;
	uint64_t ahead_bytes; /* see copier_freeze(); 0: all that is sent then follows the cut */
	uint64_t join_at; /* the next copier_join() that does anything */
	uint64_t stopped_ns; /* the longest that it stood still for a look; 0: it never does */
};

#define COPIER_INIT ((struct copier){0})

/* @tracker is taken over. */
int copier_init(struct copier *c, struct sender *s, struct tracker *tracker, const char *cgroup,
	struct err *e);
void copier_done(struct copier *c);

/* Looks what has been written, while the container stands still if the tracker needs that; *ret_bytes is all that is
 * to be sent now. The sender must be idle. */
int copier_look(struct copier *c, uint64_t *ret_bytes, struct err *e);

/* Queues that, and that the target has it. */
int copier_send(struct copier *c, struct err *e);

/* To be called now and then between looks: see tracker_join(). Takes a twentieth of the time. */
void copier_join(struct copier *c);

/*
 * The container is frozen, and CRIU may be at work on it: takes back what no longer holds, marks the
 * cut, and queues what CRIU will surely leave to us: private memory without execute permission, into
 * which it doesn't write (docs/CORRECTNESS.md). Up to ahead_bytes of it go before the cut instead: that takes
 * less than CRIU's dump, and need not be taken back first, page by page.
 */
int copier_freeze(struct copier *c, struct err *e);

/* CRIU's images are complete: of the lazy pages of @vpid, queues what the target still lacks. An error if
 * they are known not to be readable. */
int copier_rest(struct copier *c, uint32_t vpid, const struct ranges *lazy, struct err *e);
