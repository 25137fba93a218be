/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "migrate/guest.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * How much of this host others may take, decided without I/O. Strangers are connections whose peer
 * has not shown who it is: they are few, and few from one address, so that whoever opens many takes
 * places from nobody else.
 */

struct quota {
	unsigned handshakes, handshakes_per_address;
	unsigned migrations, migrations_per_peer;
	uint64_t memory_bytes; /* of all migrations under way */
};

#define QUOTA_DEFAULT                                                                              \
	((struct quota){.handshakes = 32, .handshakes_per_address = 8, .migrations = 16,           \
		.migrations_per_peer = 8, .memory_bytes = UINT64_MAX})

/* Of one peer, migrations among them. */
#define QUOTA_CONNECTIONS_PER_PEER 32

/* A connection, as far as that goes. */
struct client {
	struct in6_addr from; /* what one user of the network has: an IPv4 address, 64 bits of IPv6 */
	uint64_t since;
	bool known, migrates;
	uint8_t key[FINGERPRINT_LEN]; /* of one that is known */
	uint64_t memory_bytes;
};

struct in6_addr quota_origin(const struct sockaddr *from);

/* May one more stranger from there come in? */
bool quota_admits(const struct quota *q, const struct client *v, size_t n, const struct in6_addr *from);

/* The stranger that has been here longest, if there are as many as there may be; else @n. */
size_t quota_surplus(const struct quota *q, const struct client *v, size_t n);

/* What client @at asks for; noted there if it may. */
enum guest_answer quota_answer(const struct quota *q, struct client *v, size_t n, size_t at,
	const struct guest_request *request);
