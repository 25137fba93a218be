/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "wire/transport.h"

#include <openssl/types.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Proof that a peer has the key that it is said to have, for a process that has not done the handshake of
 * TLS itself and does not trust the one that has.
 *
 * In TLS 1.3 each side signs the hash of all messages of the handshake up to its certificate (RFC 8446,
 * 4.4.3), and the other can put a nonce of the verifier there, in an extension that peers ignore (4.2: they
 * must). The server does so in its request for the client's certificate: a signature by the client's key
 * over messages with that nonce, and with this host's certificate as the server's, says that the client has just
 * met this host. The client does so in its first message: a signature by the server's key over that says that
 * the server has just been called by this host.
 */

#define PROOF_NONCE_LEN 32
#define PROOF_KEY_MAX 512		/* SubjectPublicKeyInfo */
#define PROOF_MESSAGES_MAX (64 * 1024)	/* the handshake's */

/* Whose key it is about. */
enum proof_of { PROOF_OF_CLIENT, PROOF_OF_SERVER };

/* The half of who does the handshake: all its messages, one after the other. */
struct proof {
	enum proof_of of;
	uint8_t nonce[PROOF_NONCE_LEN];
	uint8_t key[PROOF_KEY_MAX]; /* of the peer's certificate */
	size_t key_len;
	struct buf messages; /* owned */
};

void proof_init(struct proof *p, enum proof_of of, const uint8_t nonce[static PROOF_NONCE_LEN]);
/* From now on it keeps nothing. */
void proof_done(struct proof *p);

/* Has what is made of @ctx send the nonce and keep the messages in @p, which must outlive it. 0 or -errno. */
int proof_watch(SSL_CTX *ctx, struct proof *p);
/* The peer's. */
void proof_keep_key(struct proof *p, const X509 *cert);

/* The verifier's: 0 when the peer's signature among @messages is one by the Ed25519 key in @key over all before
 * it, and the nonce is where this host's side puts it; of a client, also: the server's certificate there is @own.
 * -EACCES otherwise. @key is one whose fingerprint is trusted, the rest may be anything. */
int proof_check(enum proof_of of, const uint8_t nonce[static PROOF_NONCE_LEN], const X509 *own, const void *key,
	size_t key_len, const void *messages, size_t len);
