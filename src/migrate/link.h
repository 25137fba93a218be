/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/child.h"
#include "base/err.h"
#include "wire/channel.h"
#include "wire/identity.h"
#include "wire/peers.h"

#include <stdint.h>

/*
 * How a source reaches its target: a peer's agent by TLS, or "ssh://HOST", where
 * "godwit serve" speaks the same protocol on its standard input and output.
 */

#define LINK_SSH_MAX 20 /* one ssh a channel */

struct link {
	const struct identity *self;
	const struct peer *peer; /* NULL for ssh */
	const char *ssh_host;
	struct child ssh[LINK_SSH_MAX];
	size_t n_ssh;
};

/* @target: a peer's name, or ssh://HOST. What is passed must outlive the link. */
int link_init(struct link *l, const char *target, const struct identity *self,
	const struct peers *peers, struct err *e);
/* Ends what carries its connections, which are closed; others can be opened. */
void link_close(struct link *l);

/* The peer's key as fingerprint_format() has it; "" for ssh. */
void link_key(const struct link *l, char ret[static FINGERPRINT_TEXT]);

/* One more connection, with @token (zeros for the first), as channel @kind number @index. */
int link_open(struct link *l, enum msg_channel kind, uint8_t index,
	const uint8_t token[static MSG_ID_LEN], struct channel *ret, uint64_t deadline,
	struct err *e);
