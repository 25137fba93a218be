/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "wire/msg.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Memory between a process and the one that carries its bytes to the peer, for what is large: it would
 * be copied into the socket between the two, and out of it. Who writes puts a piece into the next slot of a ring
 * and says so over that socket; who reads takes them in this order. Free slots are counted by an eventfd.
 */

#define LANE_SLOT MSG_DATA_MAX

struct lane;

/* What comes over the socket: so many bytes behind it, and then so many in the next slot. Of this machine's
 * byte order. */
struct lane_record {
	uint32_t in_stream, in_slot;
};

/* Before fork(2), after which both have it; each frees its own. 0 or -errno. */
int lane_new(struct lane **ret);
/* NULL is fine. */
void lane_free(struct lane *l);

/* After fork(2), in the parent: whom it forks later has nothing of it. */
void lane_hide(struct lane *l);

/* What the other process needs to keep open. */
int lane_fd(const struct lane *l);

/* Copies 1 to LANE_SLOT bytes into the next slot as soon as it is free. -EPIPE when the other end of @socket has
 * gone, -ETIMEDOUT, -errno. */
int lane_put(struct lane *l, int socket, const void *data, size_t len, uint64_t deadline);

/* The reader's: the slot of the next piece, until lane_took(). */
const void *lane_next(const struct lane *l);
int lane_took(struct lane *l);
