/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/address.h"

#include <stdint.h>

/*
 * What waits in the sockets of the container that an address reaches (sock_diag(7)): those that are
 * bound to it, and those bound to any address at one of the container's ports.
 */

#define SOCKETS_PORTS_MAX 256

struct reached {
	struct address address;
	uint16_t ports[SOCKETS_PORTS_MAX];
	size_t n_ports;
};

/* Another port; too many are not looked at. */
void reached_add_port(struct reached *r, uint16_t port);

struct sockets {
	uint64_t datagram_bytes; /* in receive queues of UDP sockets */
	unsigned accepting;	 /* connections that no accept() has taken yet */
	unsigned connections;	 /* TCP connections of that very address */
};

/* 0 or -errno. */
int sockets_look(const struct reached *r, struct sockets *ret);

/* So many packets at a time find room after: */
#define SOCKETS_BURST 64
/* Lets applications take what waits, so that the queues don't overflow, until @deadline at most. */
void sockets_wait_room(const struct reached *r, uint64_t deadline);
