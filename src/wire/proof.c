/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/proof.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

/* For private use (RFC 8447), of the request for a certificate and of the client's first message. */
#define REQUEST_EXTENSION 65024
#define HELLO_EXTENSION 65025
#define MESSAGE_HEADER 4
#define HASH_LEN 32 /* SHA-256: that of both cipher suites (wire/transport.c) */
#define SIGNED_PAD 64
#define ED25519 0x0807 /* as a signature scheme */
#define EXTENSION_HEADER 4
#define RANDOM_LEN 32

/* RFC 8446, 4 */
enum {
	CLIENT_HELLO = 1,
	SERVER_HELLO = 2,
	ENCRYPTED_EXTENSIONS = 8,
	CERTIFICATE = 11,
	CERTIFICATE_REQUEST = 13,
	CERTIFICATE_VERIFY = 15,
	FINISHED = 20,
};

/* --- the half of who does the handshake ------------------------------------------------------- */

void proof_init(struct proof *p, enum proof_of of, const uint8_t nonce[static PROOF_NONCE_LEN])
{
	*p = (struct proof){.of = of};
	memcpy(p->nonce, nonce, PROOF_NONCE_LEN);
	buf_init(&p->messages, PROOF_MESSAGES_MAX);
}

void proof_done(struct proof *p)
{
	buf_done(&p->messages);
	buf_init(&p->messages, 0);
}

void proof_keep_key(struct proof *p, const X509 *cert)
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	p->key_len = 0;
	if (len > 0 && len <= PROOF_KEY_MAX) {
		memcpy(p->key, der, (size_t)len);
		p->key_len = (size_t)len;
	}
	OPENSSL_free(der);
}

static int add_nonce(SSL *s, unsigned type, unsigned context, const unsigned char **ret, size_t *ret_len,
	X509 *cert, size_t chain, int *alert, void *arg)
{
	struct proof *p = arg;

	(void)s, (void)type, (void)context, (void)cert, (void)chain, (void)alert;
	*ret = p->nonce;
	*ret_len = PROOF_NONCE_LEN;
	return 1;
}

/* @data: a message of the handshake, whole, with its header. */
static void keep_message(int written, int version, int content, const void *data, size_t len, SSL *s, void *arg)
{
	struct proof *p = arg;

	(void)written, (void)version, (void)s;
	if (content == SSL3_RT_HANDSHAKE)
		buf_put(&p->messages, data, len);
}

int proof_watch(SSL_CTX *ctx, struct proof *p)
{
	bool request = p->of == PROOF_OF_CLIENT;

	if (SSL_CTX_add_custom_ext(ctx, request ? REQUEST_EXTENSION : HELLO_EXTENSION,
		    request ? SSL_EXT_TLS1_3_CERTIFICATE_REQUEST : SSL_EXT_CLIENT_HELLO, add_nonce, NULL, p, NULL,
		    NULL) != 1)
		return -EINVAL;
	SSL_CTX_set_msg_callback(ctx, keep_message);
	SSL_CTX_set_msg_callback_arg(ctx, p);
	return 0;
}

/* --- the verifier's half ---------------------------------------------------------------------- */

struct message {
	uint8_t type;
	const uint8_t *all, *body;
	size_t len; /* of the body */
};

/* A retry (HelloRetryRequest) has another hash (4.4.1), and never comes between two of us. */
static const uint8_t order[] = {CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE_REQUEST, CERTIFICATE,
	CERTIFICATE_VERIFY, FINISHED, CERTIFICATE, CERTIFICATE_VERIFY, FINISHED};

/* Among them: */
#define HELLO 0
#define REQUEST 3
#define SERVERS_CERTIFICATE 4
#define SERVERS_SIGNATURE 5
#define CLIENTS_SIGNATURE 8
#define MESSAGES (sizeof(order) / sizeof(order[0]))

static bool next_message(struct cursor *c, struct message *ret)
{
	const uint8_t *h = cursor_take(c, MESSAGE_HEADER);

	if (!h)
		return false;
	*ret = (struct message){.type = h[0], .all = h};
	ret->len = (size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3];
	ret->body = cursor_take(c, ret->len);
	return ret->body;
}

static bool split(const void *messages, size_t len, struct message ret[static MESSAGES])
{
	struct cursor c = cursor_of(messages, len);

	for (size_t i = 0; i < MESSAGES; i++)
		if (!next_message(&c, &ret[i]) || ret[i].type != order[i])
			return false;
	return cursor_end(&c) == 0;
}

/* Is it in the extensions, which are what is left of the message (4.2)? */
static bool has_nonce(struct cursor *c, unsigned extension, const uint8_t nonce[static PROOF_NONCE_LEN])
{
	if (cursor_u16(c) != c->left)
		return false;
	while (!c->failed && c->left >= EXTENSION_HEADER) {
		unsigned type = cursor_u16(c);
		size_t n = cursor_u16(c);
		const void *p = cursor_take(c, n);

		if (p && type == extension)
			return n == PROOF_NONCE_LEN && memcmp(p, nonce, n) == 0;
	}
	return false;
}

/* After an empty context of the request (4.3.2). */
static bool is_requested(const struct message *m, const uint8_t nonce[static PROOF_NONCE_LEN])
{
	struct cursor c = cursor_of(m->body, m->len);

	return cursor_u8(&c) == 0 && has_nonce(&c, REQUEST_EXTENSION, nonce);
}

/* After a version, a random number, a session's id, ciphers and compressions (4.1.2). */
static bool is_called(const struct message *m, const uint8_t nonce[static PROOF_NONCE_LEN])
{
	struct cursor c = cursor_of(m->body, m->len);

	cursor_u16(&c);
	cursor_take(&c, RANDOM_LEN);
	cursor_take(&c, cursor_u8(&c));
	cursor_take(&c, cursor_u16(&c));
	cursor_take(&c, cursor_u8(&c));
	return !c.failed && has_nonce(&c, HELLO_EXTENSION, nonce);
}

static uint32_t cursor_u24(struct cursor *c)
{
	uint32_t high = cursor_u8(c);

	return high << 16 | cursor_u16(c);
}

/* One certificate, without a context and without extensions (4.4.2). */
static bool is_own(const struct message *m, const X509 *own)
{
	struct cursor c = cursor_of(m->body, m->len);
	uint8_t *der = NULL;
	int len = i2d_X509(own, &der);
	const void *p;
	bool r;

	r = len > 0 && cursor_u8(&c) == 0 && cursor_u24(&c) == c.left && cursor_u24(&c) == (uint32_t)len;
	p = r ? cursor_take(&c, (size_t)len) : NULL;
	r = p && memcmp(p, der, (size_t)len) == 0 && cursor_u16(&c) == 0 && cursor_end(&c) == 0;
	OPENSSL_free(der);
	return r;
}

static const char *const contexts[] = {
	[PROOF_OF_CLIENT] = "TLS 1.3, client CertificateVerify",
	[PROOF_OF_SERVER] = "TLS 1.3, server CertificateVerify",
};
#define CONTEXT_LEN sizeof("TLS 1.3, ?????? CertificateVerify") /* the zero is part of it */

/* What is signed: 4.4.3. */
static int verify(EVP_PKEY *key, const char *context, const void *messages, size_t len, const void *signature,
	size_t signature_len)
{
	uint8_t text[SIGNED_PAD + CONTEXT_LEN + HASH_LEN];
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	int r = -EACCES;

	memset(text, ' ', SIGNED_PAD);
	memcpy(text + SIGNED_PAD, context, CONTEXT_LEN);
	if (c && EVP_Digest(messages, len, text + SIGNED_PAD + CONTEXT_LEN, NULL, EVP_sha256(), NULL) == 1 &&
		EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestVerify(c, signature, signature_len, text, sizeof(text)) == 1)
		r = 0;
	EVP_MD_CTX_free(c);
	return r;
}

/* @m: of all messages; what the nonce makes one of now, and of this host. */
static bool is_of_now(enum proof_of of, const struct message *m, const uint8_t nonce[static PROOF_NONCE_LEN],
	const X509 *own)
{
	if (of == PROOF_OF_SERVER)
		return is_called(&m[HELLO], nonce);
	return is_requested(&m[REQUEST], nonce) && is_own(&m[SERVERS_CERTIFICATE], own);
}

int proof_check(enum proof_of of, const uint8_t nonce[static PROOF_NONCE_LEN], const X509 *own, const void *key,
	size_t key_len, const void *messages, size_t len)
{
	struct message m[MESSAGES], *signed_by = &m[of == PROOF_OF_SERVER ? SERVERS_SIGNATURE : CLIENTS_SIGNATURE];
	struct cursor c;
	const uint8_t *der = key;
	const void *signature;
	EVP_PKEY *pkey;
	size_t n;
	int r = -EACCES;

	if (!split(messages, len, m) || !is_of_now(of, m, nonce, own))
		return -EACCES;
	c = cursor_of(signed_by->body, signed_by->len);
	if (cursor_u16(&c) != ED25519)
		return -EACCES;
	n = cursor_u16(&c);
	signature = cursor_take(&c, n);
	if (!signature || cursor_end(&c) < 0)
		return -EACCES;
	pkey = d2i_PUBKEY(NULL, &der, (long)key_len);
	if (pkey && der == (const uint8_t *)key + key_len && EVP_PKEY_is_a(pkey, "ED25519"))
		r = verify(pkey, contexts[of], messages, (size_t)(signed_by->all - (const uint8_t *)messages), signature, n);
	EVP_PKEY_free(pkey);
	return r;
}
