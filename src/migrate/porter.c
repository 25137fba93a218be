/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/porter_impl.h"

#include "base/child.h"
#include "base/fd.h"
#include "base/file.h"
#include "wire/identity.h"
#include "wire/lane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOMEBODY "a connection"
#define SOCKET_BYTES (1 << 20) /* some messages with data, so that who writes them needn't wait */

struct meeting {
	const char *name; /* of whom errors are about */
	transport_trust_fn *trust;
	void *ctx;
	struct porter_start start; /* what the porter got */
	struct transport *transport;
	uint8_t key[FINGERPRINT_LEN];
	bool trusted; /* is that key */
};

static int hear(struct meeting *m, void *buf, size_t len, struct err *e)
{
	return transport_read(m->transport, buf, len, m->start.deadline, e) < 0 ? err_wrap(e, "%s", m->name) : 0;
}

static int judge_key(struct meeting *m, struct err *e)
{
	uint8_t answer;
	int r = hear(m, m->key, sizeof(m->key), e);

	if (r < 0)
		return r;
	m->trusted = m->trust(m->key, m->ctx);
	answer = m->trusted;
	r = fd_write_all(transport_fd(m->transport), &answer, 1, m->start.deadline);
	return r < 0 ? err_set(e, ERR_PEER, -r, "%s: its process has ended", m->name) : 0;
}

static bool is_proven(const struct meeting *m, const struct porter_proof *p, const uint8_t *data)
{
	uint8_t fingerprint[FINGERPRINT_LEN];

	if (!m->trusted || fingerprint_of_key(data, p->key_len, fingerprint) < 0 ||
		memcmp(fingerprint, m->key, sizeof(fingerprint)) != 0)
		return false;
	return proof_check(porter_proves(&m->start), m->start.nonce, m->start.self->cert, data, p->key_len,
		       data + p->key_len, p->messages_len) == 0;
}

/* The peer itself has said to this host now that it has the key: a porter alone can't say so. */
static int judge_proof(struct meeting *m, struct err *e)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct porter_proof p;
	int r = hear(m, &p, sizeof(p), e);

	if (r < 0)
		return r;
	if (p.key_len > PROOF_KEY_MAX || p.messages_len > PROOF_MESSAGES_MAX)
		return err_set(e, ERR_PEER, EMSGSIZE, "a handshake of too many bytes");
	data = malloc(p.key_len + p.messages_len + 1);
	if (!data)
		return err_sys(e, ENOMEM, "handshake");
	r = hear(m, data, p.key_len + p.messages_len, e);
	if (r < 0)
		return r;
	if (!is_proven(m, &p, data))
		return err_set(e, ERR_PEER, EACCES, "%s: the handshake does not prove that the peer has its key",
			m->name);
	transport_vouch(m->transport, m->key);
	return 0;
}

static int hear_why(struct meeting *m, struct err *e)
{
	struct channel c;
	struct msg reason = MSG_INIT;
	int r;

	channel_init(&c, m->transport, CHANNEL_CONTROL, false);
	snprintf(c.peer, sizeof(c.peer), "%s", m->name);
	r = channel_expect(&c, MSG_ABORT, &reason, m->start.deadline, e);
	msg_done(&reason);
	/* The transport stays ours. */
	c.transport = NULL;
	channel_done(&c);
	return r < 0 ? r : -EPROTO;
}

/* Until the peer has shown whose key it has. */
static int meet(struct meeting *m, struct err *e)
{
	for (;;) {
		uint8_t what;
		int r = hear(m, &what, 1, e);

		if (r == 0 && what == PORTER_KEY && m->trust)
			r = judge_key(m, e);
		else if (r == 0 && what == PORTER_UP)
			return m->trust ? judge_proof(m, e) : 0;
		else if (r == 0 && what == PORTER_FAILED)
			return hear_why(m, e);
		else if (r == 0)
			r = err_set(e, ERR_PEER, EPROTO, "a connection's process says what it may not");
		if (r < 0)
			return r;
	}
}

/* Not having it costs time alone. */
static void make_room(int fd)
{
	int bytes = SOCKET_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void close_both(const struct porter_start *s)
{
	close(s->in);
	if (s->out != s->in)
		close(s->out);
}

/* What stays with us of the connection: a source asks the kernel how fast it is. */
static int keep_wire(const struct porter_start *s)
{
	if (s->calls)
		return s->in;
	close_both(s);
	return -1;
}

static int start(struct meeting *m, struct err *e)
{
	struct porter_start *s = &m->start;
	struct child child;
	int ends[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		r = errno;
		close_both(s);
		return err_sys(e, r, "sockets of a connection's process");
	}
	make_room(ends[0]);
	make_room(ends[1]);
	s->worker = ends[1];
	r = s->calls ? lane_new(&s->lane) : 0;
	pid = r < 0 ? r : child_fork(&child);
	if (pid == 0)
		porter_main(s);
	close(ends[1]);
	if (pid < 0) {
		close_both(s);
		close(ends[0]);
		lane_free(s->lane);
		return err_sys(e, -pid, "starting a connection's process");
	}
	if (s->lane)
		lane_hide(s->lane);
	return transport_carried(ends[0], keep_wire(s), s->lane, &child, &m->transport, e);
}

static int begin(struct meeting *m, struct transport **ret, struct err *e)
{
	int r;

	if (getrandom(m->start.nonce, sizeof(m->start.nonce), 0) != sizeof(m->start.nonce)) {
		close_both(&m->start);
		return err_sys(e, EIO, "random nonce");
	}
	r = start(m, e);
	if (r < 0)
		return r;
	r = meet(m, e);
	if (r < 0)
		transport_free(m->transport);
	else
		*ret = m->transport;
	return r;
}

int porter_tls(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx, uint64_t deadline,
	struct transport **ret, struct err *e)
{
	struct meeting m = {.name = SOMEBODY, .trust = trust, .ctx = ctx,
		.start = {.in = fd, .out = fd, .self = self, .deadline = deadline}};

	return begin(&m, ret, e);
}

int porter_plain(int in, int out, uint64_t deadline, struct transport **ret, struct err *e)
{
	struct meeting m = {.name = SOMEBODY, .start = {.in = in, .out = out, .deadline = deadline}};

	return begin(&m, ret, e);
}

int porter_call_tls(int fd, const struct identity *self, transport_trust_fn *trust, void *ctx,
	const struct porter_call *call, uint64_t deadline, struct transport **ret, struct err *e)
{
	struct meeting m = {.name = call->name, .trust = trust, .ctx = ctx,
		.start = {.in = fd, .out = fd, .self = self, .calls = true, .kind = call->kind,
			.deadline = deadline}};

	return begin(&m, ret, e);
}

int porter_call_plain(int fd, const struct porter_call *call, uint64_t deadline, struct transport **ret, struct err *e)
{
	struct meeting m = {.name = call->name,
		.start = {.in = fd, .out = fd, .calls = true, .kind = call->kind, .deadline = deadline}};

	return begin(&m, ret, e);
}

static int lend(struct channel *c, const int *fds, size_t n, struct err *e)
{
	static const uint8_t order[FRAME_HEADER];
	int r = fd_send(transport_fd(c->transport), order, sizeof(order), fds, n);

	if (r == -EPIPE || r == -ECONNRESET)
		return err_set(e, ERR_PEER, -r, "%s: the peer closed the connection", c->peer);
	return r < 0 ? err_sys(e, -r, "lending a line of the keeper") : 0;
}

int porter_carry_bulk(struct channel *c, const struct keeper_line *l, struct err *e)
{
	int fds[PORTER_LINE_FDS];

	keeper_line_lend(l, fds);
	return lend(c, fds, PORTER_LINE_FDS, e);
}

int porter_carry_urgent(struct channel *c, struct keeper *k, struct err *e)
{
	int fds[PORTER_LINE_FDS + 1];

	keeper_line_lend(keeper_urgent_line(k), fds);
	fds[PORTER_LINE_FDS] = keeper_wish_fd(k);
	return lend(c, fds, PORTER_LINE_FDS + 1, e);
}
