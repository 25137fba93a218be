/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libmnl/libmnl.h>
#include <stdint.h>

/* Questions to the kernel's routing (rtnetlink(7)). */

/* Sends one request, to which the kernel has one answer, and gives it to @f (may be NULL). 0, or
 * -errno, also the kernel's. */
int rtnetlink_request(struct nlmsghdr *h, mnl_cb_t f, void *ctx);

struct route {
	uint8_t type;	    /* RTN_UNICAST, RTN_LOCAL, ... */
	uint32_t interface; /* its number */
	uint8_t next[16];   /* who gets it: the destination itself, or a router */
};

/* How a packet to an address, of 4 or 16 bytes as @family says, leaves this host. */
int route_find(uint8_t family, const void *address, struct route *ret);
