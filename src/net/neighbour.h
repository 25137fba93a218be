/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/*
 * Makes this host find out how to reach a peer, of 4 or 16 bytes as @family says, so that the first
 * answers to it don't wait, or overflow while they wait, for a neighbour's hardware address. It asks
 * from an address of its own. 0 or -errno.
 */
int neighbour_ask(uint8_t family, const void *peer);
