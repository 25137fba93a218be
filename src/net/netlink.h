/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libmnl/libmnl.h>

/* Requests to the kernel by netlink(7). */

/* Sends one request to rtnetlink(7), to which the kernel has one answer, and gives it to @f (may be
 * NULL). 0, or -errno, also the kernel's. */
int rtnetlink_request(struct nlmsghdr *h, mnl_cb_t f, void *ctx);

/* Sends a request for a list by @s, of any netlink family, and gives each entry to @f. 0 or -errno. */
int netlink_dump(struct mnl_socket *s, struct nlmsghdr *h, mnl_cb_t f, void *ctx);
