/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* Questions to the kernel's routing (rtnetlink(7)). */

struct route {
	uint8_t type;	    /* RTN_UNICAST, RTN_LOCAL, ... */
	uint32_t interface; /* its number */
	uint8_t next[16];   /* who gets it: the destination itself, or a router */
};

/* How a packet to an address, of 4 or 16 bytes as @family says, leaves this host. */
int route_find(uint8_t family, const void *address, struct route *ret);

/* A route that someone has set, in the main table. */
struct route_entry {
	uint8_t family, prefix;
	uint8_t to[16], via[16]; /* @via is zero where no router is asked */
};

typedef void route_fn(void *ctx, const struct route_entry *r);

/* Calls @f with each of both families, but for those that the kernel makes of addresses and of routers'
 * advertisements. 0 or -errno. */
int route_each(route_fn *f, void *ctx);

/* Adds one or replaces it. 0 or -errno. */
int route_set(const struct route_entry *r, uint32_t interface);
