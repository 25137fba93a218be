/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/segment.h"

#include <stddef.h>
#include <stdint.h>

/*
 * TCP connections that are being restored, as long as CRIU has them in the mode in which the kernel lets
 * their queues be read (TCP_REPAIR).
 */

struct connection {
	struct segment next;  /* what the next segment of it would say */
	uint64_t read_at;     /* when its time was that */
	unsigned payload;     /* the most that a segment may carry */
	uint8_t *sent;	      /* owned: what isn't acknowledged, from next.sequence on */
	size_t n_sent;
};

void connection_done(struct connection *c);

/* Reads at most @max bytes of what is sent and not acknowledged: 1; 0 for what is no such connection or
 * has nothing of that kind; -errno. */
int connection_read(int fd, size_t max, struct connection *ret);
