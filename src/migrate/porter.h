/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/keeper.h"
#include "wire/channel.h"
#include "wire/transport.h"

#include <stdint.h>

/*
 * The porter: for each connection to a peer a process of its own that has no rights (kernel/confine.h). It
 * alone reads what the peer has sent: it does the handshake of TLS, takes messages apart, checks them, and
 * passes on to us, the worker, what it has put together anew. A target's pages never come to us: it hands them over
 * a keeper's line. What comes of it is checked here as strictly as if the peer had sent it.
 *
 * Its end looks like the peer's: the connection is lost.
 */

/* A connection that has just come: TLS on @fd. @trust is asked here, for the key that the porter has found.
 * Hands over @fd, also on failure. The caller is root and has one thread. */
int porter_tls(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx, uint64_t deadline,
	struct transport **ret, struct err *e);

/* The same for two descriptors that ssh protects. */
int porter_plain(int in, int out, uint64_t deadline, struct transport **ret, struct err *e);

/* A connection that a source has made, for a channel of that kind to the peer called @name. Other threads of the
 * caller may run, as long as they use neither OpenSSL nor stdio. */
struct porter_call {
	enum msg_channel kind;
	const char *name;
};
int porter_call_tls(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx,
	const struct porter_call *call, uint64_t deadline, struct transport **ret, struct err *e);
int porter_call_plain(int fd, const struct porter_call *call, uint64_t deadline, struct transport **ret,
	struct err *e);

/* Of a bulk channel, after its HELLO: pages go by that line, which is the porter's as long as it lives. CUT
 * and BULK_END come here when all before them is done. */
int porter_carry_bulk(struct channel *c, const struct keeper_line *l, struct err *e);

/* Of the urgent channel: the porter asks for what the keeper wishes for. */
int porter_carry_urgent(struct channel *c, struct keeper *k, struct err *e);
