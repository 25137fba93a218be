/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/transport.h"

#include "base/clock.h"
#include "base/fd.h"
#include "wire/identity.h"
#include "wire/lane.h"
#include "wire/proof.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RECORD_BYTES 16384 /* the most in one TLS record (RFC 8446, 5.1) */
#define READ_AHEAD (128 * 1024)
#define WRITE_TOGETHER (128 * 1024)
#define LANE_MIN (16u * 1024) /* below, a slot isn't worth its two system calls */
#define LANE_SMALL (LANE_MIN + 512)
#define CARRIER_MS 3000 /* to deliver what was written last */

/* OpenSSL 3.2, which headers of 3.0 don't know. A certificate is smaller than what it would save, and its
 * message must be one that wire/proof.c knows. */
#ifndef SSL_OP_NO_TX_CERTIFICATE_COMPRESSION
#define SSL_OP_NO_TX_CERTIFICATE_COMPRESSION (1ull << 32)
#define SSL_OP_NO_RX_CERTIFICATE_COMPRESSION (1ull << 33)
#endif

struct transport {
	int in, out; /* owned; the same for a socket */
	int wire;    /* owned; the connection behind the carrier, or -1 */
	struct lane *lane; /* owned; to the carrier, or NULL */
	SSL *ssl;    /* NULL: plain */
	SSL_CTX *ssl_ctx;
	transport_trust_fn *trust;
	void *trust_ctx;
	struct proof *proof; /* borrowed; NULL: none is wanted */
	uint8_t fingerprint[FINGERPRINT_LEN];
	bool has_fingerprint, untrusted;
	struct child carrier; /* pid 0: none */
	_Atomic uint64_t written;
};

static const char preamble_magic[8] = "GODWIT01";

void preamble_put(uint8_t ret[static PREAMBLE_LEN], const uint8_t route[static ROUTE_LEN])
{
	memcpy(ret, preamble_magic, sizeof(preamble_magic));
	memcpy(ret + sizeof(preamble_magic), route, ROUTE_LEN);
}

int preamble_get(const uint8_t p[static PREAMBLE_LEN], uint8_t ret_route[static ROUTE_LEN])
{
	if (memcmp(p, preamble_magic, sizeof(preamble_magic)) != 0)
		return -EPROTO;
	memcpy(ret_route, p + sizeof(preamble_magic), ROUTE_LEN);
	return 0;
}

static int socket_error(int r, const char *doing, struct err *e)
{
	if (r == -EPIPE || r == -ECONNRESET)
		return err_set(e, ERR_PEER, -r, "the peer closed the connection");
	if (r == -ETIMEDOUT)
		return err_set(e, ERR_PEER, -r, "%s: the peer did not answer in time", doing);
	return r < 0 ? err_sys(e, -r, "%s", doing) : 0;
}

/* --- TLS ----------------------------------------------------------------------------------- */

static int peer_error(const struct transport *t, int ssl_error, const char *doing, struct err *e)
{
	unsigned long code = ERR_get_error();
	int r;

	ERR_clear_error();
	if (t->untrusted) {
		char text[FINGERPRINT_TEXT];

		fingerprint_format(t->fingerprint, text);
		r = err_set(e, ERR_PEER, EACCES, "the peer's key %s is not trusted here", text);
		err_remedy(e, "if it is the right host: godwit peer add NAME ADDRESS %s", text);
		return r;
	}
	if (ssl_error == SSL_ERROR_ZERO_RETURN || code == 0 ||
		ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return err_set(e, ERR_PEER, EPIPE, "the peer closed the connection");
	if (ERR_GET_REASON(code) == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE ||
		ERR_GET_REASON(code) == SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN ||
		ERR_GET_REASON(code) == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE ||
		ERR_GET_REASON(code) == SSL_R_TLSV1_ALERT_ACCESS_DENIED) {
		r = err_set(e, ERR_PEER, EACCES, "the peer does not trust this host's key");
		err_remedy(e, "run 'godwit id' here, and on the peer the line that it prints");
		return r;
	}
	if (ERR_SYSTEM_ERROR(code))
		return err_set(e, ERR_PEER, ERR_GET_REASON(code), "%s: %s", doing,
			strerror(ERR_GET_REASON(code)));
	return err_set(e, ERR_PEER, EPROTO, "%s: %s", doing,
		ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "TLS error");
}

/* After an unfinished SSL call: waits for what it wants. 0: try again. */
static int tls_wait(struct transport *t, int ret, uint64_t deadline, const char *doing, struct err *e)
{
	int want = SSL_get_error(t->ssl, ret), saved = errno, r;

	if (want == SSL_ERROR_SYSCALL && saved != 0 && ERR_peek_error() == 0)
		return err_set(e, ERR_PEER, saved, "%s: %s", doing, strerror(saved));
	if (want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE)
		return peer_error(t, want, doing, e);
	r = fd_wait(t->in, want == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
	return socket_error(r, doing, e);
}

/* The only check of a certificate: is its key one that we know? Chains, names and dates say
 * nothing here. */
static int verify_peer(X509_STORE_CTX *store, void *arg)
{
	struct transport *t = arg;
	X509 *cert = X509_STORE_CTX_get0_cert(store);

	if (!cert || fingerprint_of_cert(cert, t->fingerprint) < 0) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
		return 0;
	}
	t->has_fingerprint = true;
	if (t->proof)
		proof_keep_key(t->proof, cert);
	if (t->trust(t->fingerprint, t->trust_ctx))
		return 1;
	t->untrusted = true;
	X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
	return 0;
}

/* What is written waits in a buffer until that is full, or flushed: TLS by itself gives the kernel each record
 * alone, and each is then a packet, and wakes the peer. */
static int tls_attach(struct transport *t)
{
	BIO *wire = BIO_new_socket(t->in, BIO_NOCLOSE), *out = BIO_new(BIO_f_buffer());

	if (!wire || !out || BIO_set_write_buffer_size(out, WRITE_TOGETHER) != 1 || BIO_up_ref(wire) != 1) {
		BIO_free(wire);
		BIO_free(out);
		return -ENOMEM;
	}
	SSL_set_bio(t->ssl, wire, BIO_push(out, wire));
	return 0;
}

static int tls_context(struct transport *t, const struct identity *self, bool server)
{
	SSL_CTX *c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (!c)
		return -ENOMEM;
	t->ssl_ctx = c;
	SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256");
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_options(c, SSL_OP_NO_TX_CERTIFICATE_COMPRESSION | SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, READ_AHEAD);
	SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(c, verify_peer, t);
	if (SSL_CTX_use_certificate(c, self->cert) != 1 || SSL_CTX_use_PrivateKey(c, self->key) != 1)
		return -EINVAL;
	if (t->proof && proof_watch(c, t->proof) < 0)
		return -EINVAL;
	t->ssl = SSL_new(c);
	if (!t->ssl || tls_attach(t) < 0)
		return -ENOMEM;
	if (server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	return 0;
}

static void tune_socket(int fd)
{
	int on = 1, low = 256 * 1024;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/* Little unsent data in the kernel: what is more urgent gets on the wire soon. */
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof(low));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int tls_open(int fd, bool server, const struct identity *self, transport_trust_fn *trust,
	void *ctx, struct proof *proof, struct transport **ret, struct err *e)
{
	struct transport *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		close(fd);
		return err_sys(e, ENOMEM, "TLS");
	}
	t->in = t->out = fd;
	t->wire = -1;
	t->carrier = CHILD_INIT;
	t->trust = trust;
	t->trust_ctx = ctx;
	t->proof = proof;
	tune_socket(fd);
	r = fd_set_nonblock(fd);
	if (r == 0)
		r = tls_context(t, self, server);
	if (r < 0) {
		transport_free(t);
		return err_sys(e, -r, "setting up TLS");
	}
	*ret = t;
	return 0;
}

int transport_handshake(struct transport *t, uint64_t deadline, struct err *e)
{
	for (;;) {
		int done, r;

		ERR_clear_error();
		errno = 0;
		done = SSL_do_handshake(t->ssl);
		if (done == 1)
			return 0;
		r = tls_wait(t, done, deadline, "TLS handshake", e);
		if (r < 0)
			return r;
	}
}

int transport_tls_server(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx,
	struct proof *proof, struct transport **ret, struct err *e)
{
	return tls_open(fd, true, self, trust, ctx, proof, ret, e);
}

int transport_tls_client(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx,
	struct proof *proof, struct transport **ret, struct err *e)
{
	return tls_open(fd, false, self, trust, ctx, proof, ret, e);
}

static int tls_read(struct transport *t, void *buf, size_t len, uint64_t deadline, struct err *e)
{
	uint8_t *p = buf;

	while (len > 0) {
		size_t n = 0;
		int r;

		ERR_clear_error();
		errno = 0;
		r = SSL_read_ex(t->ssl, p, len, &n);
		if (r == 1) {
			p += n;
			len -= n;
			continue;
		}
		r = tls_wait(t, r, deadline, "receiving", e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* In TLS 1.3 a client is connected before the server has judged its key: its first write may fail
 * because of an alert that it has not read yet, and that says why. */
static int explain_write(struct transport *t, int r, struct err *e)
{
	uint8_t byte;
	size_t n;
	int ret;

	if (r != -EPIPE && r != -ECONNRESET)
		return r;
	ERR_clear_error();
	ret = SSL_read_ex(t->ssl, &byte, 1, &n);
	return ret != 1 && SSL_get_error(t->ssl, ret) == SSL_ERROR_SSL
		? peer_error(t, SSL_ERROR_SSL, "sending", e)
		: r;
}

static int tls_write(struct transport *t, const void *buf, size_t len, uint64_t deadline, struct err *e)
{
	const uint8_t *p = buf;

	while (len > 0) {
		size_t n = 0;
		int r;

		ERR_clear_error();
		errno = 0;
		r = SSL_write_ex(t->ssl, p, len, &n);
		if (r == 1) {
			p += n;
			len -= n;
			continue;
		}
		r = tls_wait(t, r, deadline, "sending", e);
		if (r < 0)
			return explain_write(t, r, e);
	}
	return 0;
}

static int tls_flush(struct transport *t, uint64_t deadline, struct err *e)
{
	BIO *out = SSL_get_wbio(t->ssl);

	for (;;) {
		int r;

		errno = 0;
		if (BIO_flush(out) == 1)
			return 0;
		r = BIO_should_retry(out) ? fd_wait(t->out, POLLOUT, deadline) : errno ? -errno : -EPIPE;
		if (r < 0)
			return explain_write(t, socket_error(r, "sending", e), e);
	}
}

/* A short head travels in one record with the beginning of the data. */
static int tls_write_both(struct transport *t, const uint8_t *head, size_t head_len,
	const uint8_t *data, size_t data_len, uint64_t deadline, struct err *e)
{
	uint8_t first[RECORD_BYTES];
	size_t n = 0;
	int r;

	if (head_len >= sizeof(first) || !data) {
		r = tls_write(t, head, head_len, deadline, e);
	} else {
		n = sizeof(first) - head_len < data_len ? sizeof(first) - head_len : data_len;
		memcpy(first, head, head_len);
		memcpy(first + head_len, data, n);
		r = tls_write(t, first, head_len + n, deadline, e);
	}
	if (r == 0 && n < data_len)
		r = tls_write(t, data + n, data_len - n, deadline, e);
	return r < 0 ? r : tls_flush(t, deadline, e);
}

/* --- plain --------------------------------------------------------------------------------- */

int transport_plain(int in, int out, struct transport **ret, struct err *e)
{
	struct transport *t = calloc(1, sizeof(*t));

	if (!t) {
		close(in);
		if (out != in)
			close(out);
		return err_sys(e, ENOMEM, "connection");
	}
	t->in = in;
	t->out = out;
	t->wire = -1;
	t->carrier = CHILD_INIT;
	*ret = t;
	return 0;
}

int transport_carried(int fd, int wire, struct lane *lane, struct child *carrier, struct transport **ret,
	struct err *e)
{
	int r = transport_plain(fd, fd, ret, e);

	if (r < 0) {
		child_done(carrier);
		fd_close(&wire);
		lane_free(lane);
	} else {
		(*ret)->carrier = *carrier;
		(*ret)->wire = wire;
		(*ret)->lane = lane;
	}
	*carrier = CHILD_INIT;
	return r;
}

pid_t transport_carrier(const struct transport *t)
{
	return t->carrier.pid;
}

void transport_vouch(struct transport *t, const uint8_t fingerprint[static FINGERPRINT_LEN])
{
	memcpy(t->fingerprint, fingerprint, FINGERPRINT_LEN);
	t->has_fingerprint = true;
}

static int plain_write(struct transport *t, const void *head, size_t head_len, const void *data, size_t data_len,
	uint64_t deadline)
{
	int r = fd_write_all(t->out, head, head_len, deadline);

	return r == 0 && data ? fd_write_all(t->out, data, data_len, deadline) : r;
}

/* At once as much as goes: mostly all, and then nobody has been asked whether it would. */
static int send_soon(int fd, const uint8_t *p, size_t len, uint64_t deadline)
{
	ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		n = 0;
	return (size_t)n < len ? fd_write_all(fd, p + n, len - (size_t)n, deadline) : 0;
}

/* What is small goes with its record. */
static int stream_write(struct transport *t, const struct lane_record *record, const void *head, size_t head_len,
	const void *data, size_t data_len, uint64_t deadline)
{
	uint8_t all[sizeof(*record) + LANE_SMALL];
	size_t n = sizeof(*record);
	int r;

	memcpy(all, record, n);
	if (head_len + data_len <= LANE_SMALL) {
		memcpy(all + n, head, head_len);
		n += head_len;
		if (data_len > 0)
			memcpy(all + n, data, data_len);
		return send_soon(t->out, all, n + data_len, deadline);
	}
	r = send_soon(t->out, all, n, deadline);
	return r < 0 ? r : plain_write(t, head, head_len, data_len > 0 ? data : NULL, data_len, deadline);
}

static int lane_write(struct transport *t, const void *head, size_t head_len, const void *data, size_t data_len,
	uint64_t deadline)
{
	struct lane_record record = {.in_stream = (uint32_t)(head_len + data_len)};
	int r;

	if (data_len < LANE_MIN || data_len > LANE_SLOT)
		return stream_write(t, &record, head, head_len, data, data_len, deadline);
	r = lane_put(t->lane, t->out, data, data_len, deadline);
	record = (struct lane_record){.in_stream = (uint32_t)head_len, .in_slot = (uint32_t)data_len};
	return r < 0 ? r : stream_write(t, &record, head, head_len, NULL, 0, deadline);
}

/* --- both ---------------------------------------------------------------------------------- */

void transport_free(struct transport *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	SSL_CTX_free(t->ssl_ctx);
	close(t->in);
	if (t->out != t->in)
		close(t->out);
	fd_close(&t->wire);
	lane_free(t->lane);
	/* It ends by itself. */
	child_wait(&t->carrier, deadline_in_ms(CARRIER_MS));
	child_done(&t->carrier);
	free(t);
}

bool transport_fingerprint(const struct transport *t, uint8_t ret[static FINGERPRINT_LEN])
{
	if (t->has_fingerprint)
		memcpy(ret, t->fingerprint, FINGERPRINT_LEN);
	return t->has_fingerprint;
}

int transport_read(struct transport *t, void *buf, size_t len, uint64_t deadline, struct err *e)
{
	if (t->ssl)
		return tls_read(t, buf, len, deadline, e);
	return socket_error(fd_read_all(t->in, buf, len, deadline), "receiving", e);
}

int transport_write(struct transport *t, const void *head, size_t head_len, const void *data,
	size_t data_len, uint64_t deadline, struct err *e)
{
	int r;

	if (t->ssl)
		r = tls_write_both(t, head, head_len, data, data_len, deadline, e);
	else if (t->lane)
		r = socket_error(lane_write(t, head, head_len, data, data_len, deadline), "sending", e);
	else
		r = socket_error(plain_write(t, head, head_len, data, data_len, deadline), "sending", e);
	if (r == 0)
		atomic_fetch_add(&t->written, head_len + data_len);
	return r;
}

bool transport_pending(const struct transport *t)
{
	return t->ssl && SSL_has_pending(t->ssl);
}

void transport_cut(struct transport *t)
{
	shutdown(t->in, SHUT_RDWR);
	if (t->out != t->in)
		shutdown(t->out, SHUT_RDWR);
	if (t->wire >= 0)
		shutdown(t->wire, SHUT_RDWR);
	child_kill(&t->carrier, SIGKILL);
}

int transport_fd(const struct transport *t)
{
	return t->in;
}

int transport_wire(const struct transport *t)
{
	return t->wire >= 0 ? t->wire : t->in;
}

bool transport_is_taken(const struct transport *t)
{
	int left = 0;

	/* unix(7): bytes that the other end has not read. */
	return t->wire < 0 || ioctl(t->in, SIOCOUTQ, &left) < 0 || left == 0;
}

uint64_t transport_written(const struct transport *t)
{
	return atomic_load(&t->written);
}
