/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What waits in the sockets of the container that its addresses reach (sock_diag(7)): those that are
 * bound to one, and those bound to any address at one of the container's ports.
 */

#define SOCKETS_PORTS_MAX 256
#define REACHED_ADDRESSES 4

struct reached {
	struct address addresses[REACHED_ADDRESSES];
	size_t n_addresses;
	bool own_network; /* nobody else is in that network */
	uint16_t ports[SOCKETS_PORTS_MAX];
	size_t n_ports;
};

/* Another address; -ENOSPC when there are too many. */
int reached_add_address(struct reached *r, const struct address *a);
/* Another port; too many are not looked at. */
void reached_add_port(struct reached *r, uint16_t port);

struct sockets {
	uint64_t datagram_bytes; /* in receive queues of UDP sockets */
	unsigned accepting;	 /* connections that no accept() has taken yet */
	unsigned connections;	 /* TCP connections of these very addresses */
};

/* 0 or -errno. */
int sockets_look(const struct reached *r, struct sockets *ret);

/* So many packets at a time find room after sockets_wait_room(), of 4 KB each as the kernel counts those of
 * up to 1500 bytes, in a queue of 200 KB: */
#define SOCKETS_BURST 16

/* How long applications are waited for in all, and one that takes nothing: it may never. */
#define SOCKETS_PATIENCE_MS 10000
#define SOCKETS_STALL_MS 1000

struct sockets_pace {
	const struct reached *of;
	uint64_t deadline;
	bool given_up;
};

struct sockets_pace sockets_pace(const struct reached *of);
/* Lets applications take what waits, so that the queues don't overflow. At once when it has been given up. */
void sockets_wait_room(struct sockets_pace *p);
