/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A queue of nfnetlink_queue: packets that a rule has sent to it wait in the kernel until they get a
 * verdict, whole and in order. Merged ones have been cut again and every checksum is complete. When
 * the queue is closed, what waits in it is dropped.
 */

struct queue {
	struct mnl_socket *socket; /* owned */
	uint16_t number;
	uint32_t newest;  /* of those that were taken */
	uint32_t decided; /* the newest that has its verdict */
	uint64_t taken;
	bool cut; /* one came shortened */
	uint8_t *room; /* owned */
};

#define QUEUE_INIT ((struct queue){0})

/* One with a number that nobody uses here. */
int queue_open(struct queue *q);
void queue_close(struct queue *q);

/* Readable when packets came. */
int queue_fd(const struct queue *q);

typedef int queue_packet_fn(void *ctx, const void *packet, size_t len);

/* Takes all that came: @f (may be NULL) gets each, from its IP header on. How many, or
 * -errno, also of @f. */
int queue_take(struct queue *q, queue_packet_fn *f, void *ctx);

/* What happens to the oldest @max of those that were taken: NF_ACCEPT, they go their way in the order in
 * which they came, or NF_DROP. 1 when others have no verdict yet, else 0, or -errno. */
int queue_decide(struct queue *q, uint32_t verdict, uint32_t max);

/* How many have been taken, and nothing decided of them. */
uint32_t queue_kept(const struct queue *q);

/* How many did not fit and were dropped. */
uint64_t queue_overflow(const struct queue *q);
