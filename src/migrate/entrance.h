/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/sender.h"
#include "migrate/door.h"
#include "wire/channel.h"
#include "wire/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a migration's further connections come in: by its door, from its own peer alone. */

#define ENTRANCE_CHANNELS_MAX (SENDER_STREAMS_MAX + 2)

struct entrance {
	struct door door;
	const struct identity *self; /* borrowed; NULL: ssh protects the connections */
	uint8_t token[MSG_ID_LEN];
	uint8_t peer_key[FINGERPRINT_LEN];
	bool has_key;
	int holds[ENTRANCE_CHANNELS_MAX]; /* owned: of the connections that came */
	size_t n_holds;
	struct transport *admitted; /* owned; NULL: nobody */
	int admitted_hold;	    /* owned: its */
};

#define ENTRANCE_INIT ((struct entrance){.door = DOOR_INIT, .admitted_hold = -1})

/* Makes the token, and takes the peer's key from @first. */
int entrance_init(struct entrance *n, const struct transport *first, const struct identity *self,
	struct err *e);

int entrance_open(struct entrance *n, struct err *e);
void entrance_close(struct entrance *n);

/* Somebody is at the door. True when it is the peer, whom the next entrance_next() gets: until then nothing that
 * goes by other connections has to end. */
bool entrance_admit(struct entrance *n);

/* The next connection, with what it said of itself; within @timeout_ms. */
int entrance_next(struct entrance *n, struct channel *ret, struct msg_hello *ret_hello,
	uint64_t timeout_ms, struct err *e);

/* The peer's key as journals have it: "" behind ssh. */
const char *entrance_peer(const struct entrance *n, char ret[static FINGERPRINT_TEXT]);

/* All that have come are over: whoever passed them may go. */
void entrance_let_go(struct entrance *n);

void entrance_done(struct entrance *n);
