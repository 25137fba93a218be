/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/address.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Packets that were received elsewhere, delivered here as if this host had received them.
 *
 * They are sent to this host's own address with the sender's address in their header, which a raw
 * socket may do (raw(7), IP_HDRINCL). They come in by the loopback interface, already routed, so that
 * no check of the source address stops them.
 */

/* Their mark (SO_MARK), by which a hold knows that they have been held already. */
#define INJECT_MARK 0x676f6477u

/* One whole IP packet to that address and not ICMP, which stays with its host? What comes from a
 * peer must be no more than that. */
bool inject_valid(const struct address *a, const void *packet, size_t len);

/* Who sent a valid one: 4 or 16 bytes. */
const void *inject_sender(const struct address *a, const void *packet);

/* A socket for it, the caller's, or -errno. */
int injector_open(const struct address *a);

/* A packet from one of this host's addresses, to somebody else, as it is. 0 or -errno; it never waits. */
int inject_out(int injector, uint8_t family, const uint8_t *to, const void *packet, size_t len);

/* The address must be this host's. 0 or -errno; -EINVAL for a packet that isn't valid. */
int inject(int injector, const struct address *a, const void *packet, size_t len);
