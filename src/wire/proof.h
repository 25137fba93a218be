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
 * In TLS 1.3 a client signs the hash of all messages of the handshake up to its certificate (RFC 8446,
 * 4.4.3). The server's request for that certificate carries a nonce of the verifier here, in an extension
 * that clients ignore (4.2: they must). So a signature by the peer's key over messages with that nonce, and
 * with this host's certificate as the server's, says that the peer has just met this host.
 */

#define PROOF_NONCE_LEN 32
#define PROOF_KEY_MAX 512		/* SubjectPublicKeyInfo */
#define PROOF_MESSAGES_MAX (64 * 1024)	/* the handshake's */

/* The server's half: all messages of the handshake, one after the other. */
struct proof {
	uint8_t nonce[PROOF_NONCE_LEN];
	uint8_t key[PROOF_KEY_MAX]; /* of the client's certificate */
	size_t key_len;
	struct buf messages; /* owned */
};

void proof_init(struct proof *p, const uint8_t nonce[static PROOF_NONCE_LEN]);
/* From now on it keeps nothing. */
void proof_done(struct proof *p);

/* Has what is made of @ctx send the nonce and keep the messages in @p, which must outlive it. 0 or -errno. */
int proof_watch(SSL_CTX *ctx, struct proof *p);
/* The client's. */
void proof_keep_key(struct proof *p, const X509 *cert);

/* The verifier's: 0 when the client's signature among @messages is one by the Ed25519 key in @key over all before
 * it, the server's certificate there is @own, and the nonce came with its request; -EACCES otherwise. @key is
 * one whose fingerprint is trusted, the rest may be anything. */
int proof_check(const uint8_t nonce[static PROOF_NONCE_LEN], const X509 *own, const void *key, size_t key_len,
	const void *messages, size_t len);
