/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/address.h"

#include <stdint.h>

/* What waits in the sockets that an address reaches: those bound to it, or to any (sock_diag(7)). */

struct sockets {
	uint64_t datagram_bytes; /* in receive queues of UDP sockets */
	unsigned accepting;	 /* connections that no accept() has taken yet */
	unsigned connections;	 /* TCP connections of that very address */
};

/* 0 or -errno. */
int sockets_look(const struct address *a, struct sockets *ret);
