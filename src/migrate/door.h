/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/transport.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * How further connections reach the process of their migration: it opens a door, a unix socket
 * named by the migration's token, and whoever accepted the connection passes its descriptors
 * through. Only root can; what comes through still has to authenticate itself.
 */

struct door {
	int listener; /* owned */
	char path[108];
};

#define DOOR_INIT ((struct door){.listener = -1})

int door_open(struct door *d, const uint8_t token[static ROUTE_LEN], struct err *e);
void door_done(struct door *d);

/* Removes what is left of doors whose process was killed, unless somebody is at it. */
void doors_sweep(void);

/* A connection that came through. @tls: it speaks TLS on @in; else @in and @out are plain. */
struct visitor {
	int in, out; /* owned by the caller */
	bool tls;
	int hold; /* owned: closing it tells the one who passed it that it is over */
};

/* Closes a connection that nobody took over; not @hold. */
void visitor_close(struct visitor *v);

int door_next(struct door *d, struct visitor *ret, uint64_t deadline, struct err *e);

/* Passes a connection to the migration with that token; the descriptors stay the caller's.
 * Returns a descriptor that ends when the migration is done with them, or -errno (-ENOENT: there
 * is no such migration). */
int door_pass(const uint8_t token[static ROUTE_LEN], int in, int out, bool tls);
