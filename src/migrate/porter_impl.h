/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "migrate/porter.h"
#include "wire/proof.h"

/* What porter and worker say to each other over a socketpair. First a byte each, with what belongs to it: */
enum porter_says {
	PORTER_KEY = 'k',    /* and the peer's key; the worker answers with a byte: 1 if it is trusted */
	PORTER_UP = 'u',     /* the handshake is over; of TLS follows struct porter_proof and what it counts */
	PORTER_FAILED = 'f', /* and an ABORT that says why */
};
struct porter_proof {
	uint32_t key_len, messages_len; /* bytes, which follow */
};

/* After PORTER_UP the worker of a source says what it writes in records of wire/lane.h; all others: messages in
 * frames, as on the wire. One of type MSG_NONE without payload lends a line: it brings PORTER_LINE_FDS descriptors,
 * and that of the wishes for the urgent channel. */
#define PORTER_LINE_FDS 2

struct porter_start {
	int in, out, worker;
	const struct identity *self; /* NULL: the connection is plain */
	bool calls;		     /* we are the source */
	struct lane *lane;	     /* borrowed; NULL unless it calls */
	enum msg_channel kind;	     /* what for, then; who has been called learns it */
	uint8_t nonce[PROOF_NONCE_LEN]; /* of a proof */
	uint64_t deadline;		/* of the handshake */
};

/* Whose key it has to prove. */
static inline enum proof_of porter_proves(const struct porter_start *s)
{
	return s->calls ? PROOF_OF_SERVER : PROOF_OF_CLIENT;
}

/* The porter's process, to its end. */
__attribute__((noreturn)) void porter_main(const struct porter_start *s);

/* What it does when it is confined and the handshake is over, until one of them hangs up. Takes over both. @lane: the
 * worker is a source, and @kind what for; else NULL, and CHANNEL_CONTROL. */
int porter_serve(struct transport *peer, struct transport *worker, struct lane *lane, enum msg_channel kind);
