/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handshake, as a porter that has been taken over may show it: two lengths of 16 bits, the certificate of the
 * server and the key of the client of those lengths, and messages.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "wire/proof.h"

#include <openssl/x509.h>

#define HEAD 4

static const uint8_t nonce[PROOF_NONCE_LEN] = {1, 2, 3};

/* Of what has been signed no bit may be another. */
static void check_changed(enum proof_of of, const X509 *own, const uint8_t *key, size_t key_len,
	const uint8_t *messages, size_t len)
{
	uint8_t *changed = malloc(len);
	size_t at = messages[len / 3] % (len / 3);

	MUST(changed);
	memcpy(changed, messages, len);
	changed[at] ^= 1;
	MUST(proof_check(of, nonce, own, key, key_len, changed, len) < 0);
	free(changed);
}

static void check(const X509 *own, const uint8_t *data, size_t size, size_t key_len)
{
	const uint8_t *messages = data + key_len;
	size_t len = size - key_len;

	for (enum proof_of of = PROOF_OF_CLIENT; of <= PROOF_OF_SERVER; of++)
		if (proof_check(of, nonce, own, data, key_len, messages, len) == 0)
			check_changed(of, own, data, key_len, messages, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cert_len, key_len;
	const uint8_t *p = data + HEAD;
	X509 *own;

	if (size < HEAD)
		return 0;
	cert_len = get_be16(data);
	key_len = get_be16(data + 2);
	if (size - HEAD < cert_len + key_len || key_len > PROOF_KEY_MAX)
		return 0;
	own = d2i_X509(NULL, &p, (long)cert_len);
	if (own)
		check(own, data + HEAD + cert_len, size - HEAD - cert_len, key_len);
	X509_free(own);
	return 0;
}
