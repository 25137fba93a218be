/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "net/vrrp.h"

#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The floating address that moves with a container: "ADDRESS/PREFIX dev INTERFACE [vrrp INSTANCE]", as
 * the annotation org.godwit.address has it; added, removed and announced by the kernel's interfaces.
 */

struct address {
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t prefix;
	uint8_t bytes[16];
	char interface[IF_NAMESIZE];
	struct vrrp vrrp; /* whose it is; without a name: nobody else's */
	char text[120];	  /* as it was given */
};

static inline bool address_is_vrrp(const struct address *a)
{
	return a->vrrp.name[0] != '\0';
}

int address_parse(const char *text, struct address *ret, struct err *e);

/* Is there such an interface, and is it up? 1, 0, -errno. */
int address_interface_up(const struct address *a);

/* Does this host have the address on that interface? 1, 0, -errno. */
int address_present(const struct address *a);

/* Adds it (without duplicate address detection: the caller knows who owns it). One that is there
 * already is fine. 0 or -errno. */
int address_add(const struct address *a);

/* Removes it; one that isn't there is fine. 0 or -errno. */
int address_remove(const struct address *a);

/* The hardware address of its interface. 0 or -errno. */
int address_hardware(const struct address *a, uint8_t ret[static ETH_ALEN]);

/* A socket for announcements, the caller's; or -errno. Made ahead and closed late: closing a packet
 * socket takes the kernel 10 ms and more (it waits until no processor uses it). */
int address_announcer(const struct address *a);

/*
 * Tells the segment that the address is here: a gratuitous ARP request and reply (RFC 5227,
 * section 3), or an unsolicited neighbour advertisement (RFC 4861, 7.2.6). Caches can miss one:
 * call it several times, at growing intervals. 0 or -errno.
 */
int address_announce(const struct address *a, int announcer);
