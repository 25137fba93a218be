/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "net/address.h"
#include "net/queue.h"
#include "net/sockets.h"

#include <stdint.h>

/*
 * Packets to a container's addresses are kept while it moves, instead of being delivered.
 *
 * A rule sends them to a queue in the kernel, so there is no packet that is both kept and delivered,
 * or neither. It applies before routing: they are kept whether this host has the address or not.
 * ICMP stays with the host, and so do frames that only pass through its bridge.
 *
 * Rules and queue vanish with this process, however it ends; what is kept is lost then. All that
 * takes the kernel long is done in hold_new().
 */

struct hold;

/* Makes ready, in the network that this thread is in; nothing is kept yet. @what has an address. */
int hold_new(const struct reached *what, struct hold **ret, struct err *e);
/* Packets that are still kept are dropped. */
void hold_free(struct hold *h);

/* From now on they are kept. @unseen: who asks who has an address gets no answer from this host, and
 * what would leave from them waits. */
int hold_start(struct hold *h, bool unseen);
/* They are answered for, what waited leaves, and a silence ends. */
int hold_show(struct hold *h);
/* Nothing leaves this host from the addresses any more, nothing at all a network of the container's own, and
 * who asks who has one gets no answer. */
int hold_silence(struct hold *h);

/* What the rules live by: they stay as long as any process keeps it open. */
int hold_rules_fd(const struct hold *h);

/* Readable when packets came. */
int hold_fd(const struct hold *h);
/* Gives those that came to @f; they stay kept. How many, or -errno. */
int hold_take(struct hold *h, queue_packet_fn *f, void *ctx);

/*
 * Ends it: what is kept goes its way as if it had come just now, in order and, but for what comes in
 * the moment in which the rule goes, ahead of what comes later. Takes a few milliseconds, or as long
 * as the application needs to take it (SOCKETS_PATIENCE_MS).
 */
int hold_end(struct hold *h);

struct hold_stats {
	uint64_t held, overflow;
	uint64_t late; /* that waited when the rules went: others may have overtaken them */
};

struct hold_stats hold_stats(const struct hold *h);
