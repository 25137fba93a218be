/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "check/check.h"
#include "wire/peers.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The source, as its host is known here: what it may send, and how much of this host it may take. How
 * much is taken already is known to the agent alone, which is asked through a socket.
 */

/* The rest of struct guest_request tells how much the answer depends on. */
enum guest_answer {
	GUEST_WELCOME,
	GUEST_MANY_CONNECTIONS,	  /* of this peer */
	GUEST_MANY_MIGRATIONS,	  /* of all peers */
	GUEST_MANY_OF_THE_PEER,	  /* migrations */
	GUEST_MUCH_MEMORY,	  /* of all migrations under way */
};

/* A packet to the agent; it answers with one byte. */
struct guest_request {
	uint8_t key[FINGERPRINT_LEN];
	bool migrates; /* false: it has just shown who it is */
	uint64_t memory_bytes;
};

struct guest {
	struct peer peer; /* name "": root on the other side of an ssh, which is root here */
	int agent;	  /* -1: nobody counts */
};

#define GUEST_INIT ((struct guest){.agent = -1})

/* It has shown who it is. */
int guest_enter(const struct guest *g, struct err *e);

/* May it send any container at all? */
void guest_check(const struct guest *g, struct verdicts *ret);

/* May it send this one? Costs nothing, unlike all other checks. */
void guest_check_offer(const struct guest *g, const char *container, uint64_t memory_bytes,
	struct verdicts *ret);
