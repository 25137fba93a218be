/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/identity.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "SHA256:"
#define BASE64_LEN 43 /* of 32 bytes, without its one character of padding */
#define CERT_SECONDS (3650l * 24 * 3600)
#define KEY_MAX 16384

void fingerprint_format(const uint8_t f[static FINGERPRINT_LEN], char ret[static FINGERPRINT_TEXT])
{
	uint8_t base64[BASE64_LEN + 2];

	EVP_EncodeBlock(base64, f, FINGERPRINT_LEN);
	base64[BASE64_LEN] = '\0';
	snprintf(ret, FINGERPRINT_TEXT, PREFIX "%s", (char *)base64);
}

int fingerprint_parse(const char *text, uint8_t ret[static FINGERPRINT_LEN])
{
	uint8_t base64[BASE64_LEN + 2], out[FINGERPRINT_LEN + 2];

	if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 ||
		strlen(text) != strlen(PREFIX) + BASE64_LEN)
		return -EINVAL;
	snprintf((char *)base64, sizeof(base64), "%s=", text + strlen(PREFIX));
	if (EVP_DecodeBlock(out, base64, BASE64_LEN + 1) < FINGERPRINT_LEN)
		return -EINVAL;
	memcpy(ret, out, FINGERPRINT_LEN);
	return 0;
}

int fingerprint_of_key(const void *key, size_t len, uint8_t ret[static FINGERPRINT_LEN])
{
	return EVP_Digest(key, len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EINVAL;
}

int fingerprint_of_cert(const X509 *cert, uint8_t ret[static FINGERPRINT_LEN])
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	int r = len > 0 ? fingerprint_of_key(der, (size_t)len, ret) : -EINVAL;

	OPENSSL_free(der);
	return r;
}

/* TLS carries keys in certificates; only the key in it means anything. */
static X509 *make_cert(EVP_PKEY *key)
{
	X509 *c = X509_new();
	X509_NAME *name;

	if (!c)
		return NULL;
	name = X509_get_subject_name(c);
	if (X509_set_version(c, 2) != 1 || !ASN1_INTEGER_set(X509_get_serialNumber(c), 1) ||
		!X509_gmtime_adj(X509_getm_notBefore(c), -CERT_SECONDS) ||
		!X509_gmtime_adj(X509_getm_notAfter(c), CERT_SECONDS) ||
		X509_set_pubkey(c, key) != 1 ||
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"godwit", -1,
			-1, 0) != 1 ||
		X509_set_issuer_name(c, name) != 1 || X509_sign(c, key, NULL) == 0) {
		X509_free(c);
		return NULL;
	}
	return c;
}

static int write_new_key(const char *dir, const char *path, struct err *e)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;
	long len;
	int r = -ENOMEM;

	if (key && bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
		len = BIO_get_mem_data(bio, &pem);
		r = dir_make(dir, 0755);
		if (r == 0)
			r = file_write_atomic(path, pem, (size_t)len, 0600);
	}
	BIO_free(bio);
	EVP_PKEY_free(key);
	return r < 0 ? err_sys(e, -r, "writing a new key to %s", path) : 0;
}

static int check_mode(const char *path, struct err *e)
{
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && !(st.st_mode & 077) && st.st_uid == geteuid())
		return 0;
	r = err_set(e, ERR_REFUSED, EPERM, "others than its owner may read the key %s", path);
	err_remedy(e, "chown %u %s && chmod 600 %s", geteuid(), path, path);
	return r;
}

static int read_key(const char *path, struct identity *ret, struct err *e)
{
	_cleanup_free_ char *pem = NULL;
	size_t len = 0;
	int r = file_read(path, KEY_MAX, &pem, &len);
	BIO *bio;

	if (r < 0)
		return err_sys(e, -r, "reading the key %s", path);
	bio = BIO_new_mem_buf(pem, (int)len);
	ret->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	OPENSSL_cleanse(pem, len);
	/* Others are no use: wire/proof.h. */
	ret->cert = ret->key && EVP_PKEY_is_a(ret->key, "ED25519") ? make_cert(ret->key) : NULL;
	if (ret->cert && fingerprint_of_cert(ret->cert, ret->fingerprint) == 0)
		return 0;
	r = err_set(e, ERR_LOCAL, EINVAL, "%s is not a private Ed25519 key", path);
	err_remedy(e, "move it away: a new one is made then, and peers have to be told");
	return r;
}

int identity_load(const char *dir, struct identity *ret, struct err *e)
{
	char path[PATH_MAX];
	int r;

	*ret = IDENTITY_INIT;
	snprintf(path, sizeof(path), "%s/key.pem", dir);
	r = check_mode(path, e);
	if (r == -ENOENT) {
		r = write_new_key(dir, path, e);
		if (r < 0)
			return r;
	} else if (r < 0) {
		return err_is_set(e) ? r : err_sys(e, -r, "the key %s", path);
	}
	r = read_key(path, ret, e);
	if (r < 0)
		identity_done(ret);
	return r;
}

void identity_done(struct identity *i)
{
	X509_free(i->cert);
	EVP_PKEY_free(i->key);
	*i = IDENTITY_INIT;
}
