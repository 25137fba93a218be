/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/msg.h"
#include "wire/transport.h"

#include <stdbool.h>
#include <stdint.h>

/* A transport that speaks messages: one of the connections that belong to a migration. */

/* A peer that has nothing to say says so at least every second (docs/PROTOCOL.md): one that is silent for so
 * long, or takes nothing for so long, is lost. */
#ifdef GODWIT_FAULTS
#define CHANNEL_SILENCE_MS 4000 /* tests/faults makes it silent hundreds of times */
#else
#define CHANNEL_SILENCE_MS 20000
#endif

struct channel {
	struct transport *transport; /* owned */
	enum msg_channel kind;
	bool is_source; /* our side of it */
	struct buf out, in; /* owned */
	char peer[256]; /* the other host's name, for messages */
	bool aborted;	/* the peer sent ABORT; one of class "none" is a lost link that is explained */
};

/* Takes over @t. */
void channel_init(struct channel *c, struct transport *t, enum msg_channel kind, bool is_source);
void channel_done(struct channel *c);

/* Both sides call it first: versions, kind of channel, token. The source says what it wants;
 * the target gets it in @ret_hello (may be NULL), whose strings are gone after the next call. */
int channel_hello(struct channel *c, uint8_t index, const uint8_t token[static MSG_ID_LEN],
	struct msg_hello *ret_hello, uint64_t deadline, struct err *e);

int channel_send(struct channel *c, enum msg_type type, const void *body, uint64_t deadline,
	struct err *e);

/* Of a message that ends with data, which isn't copied. */
int channel_send_data(struct channel *c, enum msg_type type, const void *body,
	const struct msg_bytes *data, uint64_t deadline, struct err *e);

/* The next message, to be freed with msg_done() and valid until the next call. An ABORT becomes
 * the error that it carries. */
int channel_recv(struct channel *c, struct msg *ret, uint64_t deadline, struct err *e);

/* The same, but an ABORT is a message like any other: for who only passes them on. */
int channel_take(struct channel *c, struct msg *ret, uint64_t deadline, struct err *e);

/* Waits until there is something to receive (or the peer hung up): 1; 0 when the eventfd @stop
 * became readable first (-1: none); -ETIMEDOUT. */
int channel_wait(struct channel *c, int stop, uint64_t deadline);

/* Like channel_recv() when nothing else than @type may come. */
int channel_expect(struct channel *c, enum msg_type type, struct msg *ret, uint64_t deadline,
	struct err *e);

/* ABORT's fields, which point into @why. */
struct msg_abort channel_reason(const struct err *why);

/* Tells the peer why it ends here; failure to do so doesn't matter any more. */
void channel_abort(struct channel *c, const struct err *why);
