/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/transport.h"

#include <openssl/types.h>
#include <stdint.h>

/*
 * Who this host is: an Ed25519 key in the configuration directory, with a self-signed certificate
 * made of it in memory. Others know it by the SHA-256 of its public key.
 */

#define FINGERPRINT_TEXT 52 /* "SHA256:", 43 characters of base64, zero; as ssh prints them */

struct identity {
	EVP_PKEY *key;
	X509 *cert;
	uint8_t fingerprint[FINGERPRINT_LEN];
};

#define IDENTITY_INIT ((struct identity){0})

/* Loads key.pem of the directory @dir, making it on first use. Refuses a key that others than its
 * owner can read. */
int identity_load(const char *dir, struct identity *ret, struct err *e);
void identity_done(struct identity *i);

void fingerprint_format(const uint8_t f[static FINGERPRINT_LEN], char ret[static FINGERPRINT_TEXT]);
/* Reads that form. -EINVAL. */
int fingerprint_parse(const char *text, uint8_t ret[static FINGERPRINT_LEN]);
/* @key: as SubjectPublicKeyInfo. -EINVAL. */
int fingerprint_of_key(const void *key, size_t len, uint8_t ret[static FINGERPRINT_LEN]);
int fingerprint_of_cert(const X509 *cert, uint8_t ret[static FINGERPRINT_LEN]);
