/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "net/address.h"
#include "net/route.h"
#include "net/sockets.h"

#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A container's own network, as the annotation org.godwit.network describes it:
 *
 *	veth INTERFACE BRIDGE | macvlan INTERFACE PARENT
 *	mac MAC [mtu BYTES] address ADDRESS/PREFIX ... [route DESTINATION/PREFIX|default via ROUTER] ...
 *
 * INTERFACE is in the container's network namespace, BRIDGE or PARENT on its host, by the same name on
 * every host.
 */

#define NETWORK_ROUTES 8

enum network_kind { NETWORK_VETH, NETWORK_MACVLAN };

struct network {
	enum network_kind kind;
	char interface[IF_NAMESIZE], parent[IF_NAMESIZE];
	uint8_t mac[ETH_ALEN];
	unsigned mtu; /* 0: its parent's */
	struct address addresses[REACHED_ADDRESSES];
	size_t n_addresses;
	struct route_entry routes[NETWORK_ROUTES];
	size_t n_routes;
};

int network_parse(const char *annotation, struct network *ret, struct err *e);

/* The address of its link that the kernel makes of its hardware address (RFC 4291, 2.5.6 and appendix A). */
struct address network_link_local(const struct network *n);

bool network_has_address(const struct network *n, uint8_t family, const void *bytes);

/* This thread is in a network: is it that one, as far as it has to be so after a move? @e says what
 * isn't. */
int network_compare(const struct network *n, struct err *e);
