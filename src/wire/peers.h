/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The hosts that this one trusts: an INI file, a section a peer, with address and fingerprint, and
 * what the peer may do here. One that says nothing of that may send any container.
 */

#define PEER_PORT 7342
#define PEER_NAME_MAX 63
#define PEER_ADDRESS_MAX 255
#define PEER_CONTAINERS_MAX 159 /* libinih: lines of 200 bytes */
#define PEERS_MAX 1024

struct peer {
	char name[PEER_NAME_MAX + 1];
	char address[PEER_ADDRESS_MAX + 1]; /* HOST, HOST:PORT, [IPV6]:PORT */
	uint8_t fingerprint[FINGERPRINT_LEN];
	bool accept; /* may it send containers here? */
	char containers[PEER_CONTAINERS_MAX + 1]; /* of which names: patterns (glob(7)), by spaces */
};

struct peers {
	struct peer *v; /* owned, in the file's order */
	size_t n;
};

#define PEERS_INIT ((struct peers){0})

/* Reads @dir/peers; a missing file is an empty list. Errors name file, line and remedy. */
int peers_load(const char *dir, struct peers *ret, struct err *e);
void peers_done(struct peers *p);

const struct peer *peers_by_name(const struct peers *p, const char *name);
const struct peer *peers_by_key(
	const struct peers *p, const uint8_t fingerprint[static FINGERPRINT_LEN]);

/* Adds to the list, refusing bad names and a name that is known with another key. Who is known
 * already gets the new address and keeps its rights. */
int peers_add(struct peers *p, const char *name, const char *address, const char *fingerprint,
	struct err *e);
int peers_remove(struct peers *p, const char *name, struct err *e);

/* From now on @name may send containers of names that match one of @containers; NULL: none. */
int peers_allow(struct peers *p, const char *name, const char *containers, struct err *e);

bool peer_may_send(const struct peer *p, const char *container);

/* Writes @dir/peers whole, atomically. */
int peers_save(const char *dir, const struct peers *p, struct err *e);

/* Splits an address into host and port (default PEER_PORT). -EINVAL. */
int peer_address_split(const char *address, char host[static 256], char port[static 6]);
