/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The porter's process. It passes on what the peer says as soon as the worker has room for it, and what the
 * worker says as soon as it says it: so neither waits for the other because both have much to say.
 */
#include "migrate/porter_impl.h"

#include "base/clock.h"
#include "base/fd.h"
#include "kernel/confine.h"
#include "mem/codec.h"
#include "migrate/asker.h"
#include "migrate/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct porter {
	struct channel peer, worker;
	struct buf out; /* for the worker */
	size_t sent;	/* bytes of that */
	uint8_t in[FRAME_HEADER + FRAME_PAYLOAD_MAX]; /* of the worker */
	uint8_t image[MSG_DATA_MAX]; /* a piece that came compressed */
	bool deaf;	/* the peer has said its last */
	int wishes;	/* owned; -1: not the urgent channel */
	struct keeper_line *line; /* owned; NULL: not lent yet */
};

static int worker_fd(const struct porter *p)
{
	return transport_fd(p->worker.transport);
}

static bool has_news(const struct porter *p)
{
	return p->sent < p->out.len;
}

/* --- from the peer to the worker -------------------------------------------------------------- */

/* As much as it takes now. -errno when it is gone. */
static int push(struct porter *p)
{
	ssize_t n = send(worker_fd(p), p->out.data + p->sent, p->out.len - p->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	p->sent += (size_t)n;
	if (has_news(p))
		return 0;
	buf_reset(&p->out);
	p->sent = 0;
	if (p->deaf)
		shutdown(worker_fd(p), SHUT_WR);
	return 0;
}

static void say_why(struct buf *out, const struct err *e)
{
	struct msg_abort m = channel_reason(e);

	msg_encode(MSG_ABORT, &m, out);
}

/* The worker hears of it by our doing the same. */
static bool is_hang_up(const struct err *e)
{
	return e->class == ERR_PEER && (e->code == EPIPE || e->code == ECONNRESET);
}

static void end_hearing(struct porter *p, const struct err *e)
{
	p->deaf = true;
	if (!is_hang_up(e))
		say_why(&p->out, e);
}

/* The worker shall not have to. */
static int unpack(struct porter *p, struct msg_image *m, struct err *e)
{
	int r;

	if (m->unpacked == 0)
		return 0;
	r = codec_decode(CODEC_ZSTD, m->data.p, m->data.len, p->image, m->unpacked);
	if (r < 0)
		return err_set(e, ERR_PEER, -r, "image %s is damaged", msg_text(&m->name));
	m->data = (struct msg_bytes){p->image, m->unpacked};
	m->unpacked = 0;
	return 0;
}

/* What the worker is to get of it. */
static int convey(struct porter *p, struct msg *m, struct err *e)
{
	int r = 0;

	switch (m->type) {
	case MSG_PAD:
		return 0;
	case MSG_HELLO:
		p->peer.kind = m->body.hello.channel;
		break;
	case MSG_IMAGE:
		r = unpack(p, &m->body.image, e);
		break;
	default:
		break;
	}
	if (r == 0 && (r = msg_encode(m->type, &m->body, &p->out)) < 0)
		err_sys(e, -r, "message %s", msg_name(m->type));
	return r;
}

static int take(struct porter *p)
{
	struct err e = ERR_INIT;
	struct msg m = MSG_INIT;
	int r = channel_take(&p->peer, &m, deadline_in_ms(CHANNEL_SILENCE_MS), &e);

	if (r == 0)
		r = convey(p, &m, &e);
	if (r < 0)
		end_hearing(p, &e);
	msg_done(&m);
	return push(p);
}

/* --- from the worker to the peer -------------------------------------------------------------- */

static int borrow(struct porter *p, int *fds, size_t n)
{
	if (n < PORTER_LINE_FDS)
		return -EPROTO;
	p->wishes = n > PORTER_LINE_FDS ? fds[PORTER_LINE_FDS] : -1;
	return keeper_line_borrow(fds, &p->line);
}

/* What the worker says is what we trust, or else nothing is. 1: it is gone. */
static int pass_on(struct porter *p)
{
	int fds[PORTER_LINE_FDS + 1] = {-1, -1, -1}, r;
	size_t n = PORTER_LINE_FDS + 1, len;
	ssize_t got = fd_recv(worker_fd(p), p->in, FRAME_HEADER, fds, &n);

	if (got <= 0)
		return got < 0 ? (int)got : 1;
	r = fd_read_all(worker_fd(p), p->in + got, FRAME_HEADER - (size_t)got, deadline_in_ms(CHANNEL_SILENCE_MS));
	if (r < 0)
		return r;
	if (get_be16(p->in + 4) == MSG_NONE)
		return borrow(p, fds, n);
	len = get_be32(p->in);
	if (len > FRAME_PAYLOAD_MAX)
		return -EMSGSIZE;
	r = fd_read_all(worker_fd(p), p->in + FRAME_HEADER, len, deadline_in_ms(CHANNEL_SILENCE_MS));
	if (r < 0)
		return r;
	return transport_write(p->peer.transport, p->in, FRAME_HEADER + len, NULL, 0,
		deadline_in_ms(CHANNEL_SILENCE_MS), NULL);
}

/* --- both ------------------------------------------------------------------------------------- */

/* Of a channel of pages the HELLO is passed on; what follows waits for the line. */
static bool hears(const struct porter *p)
{
	return !p->deaf && !has_news(p) && p->peer.kind == CHANNEL_CONTROL;
}

static int step(struct porter *p)
{
	struct transport *t = p->peer.transport;
	struct pollfd f[2] = {
		{.fd = worker_fd(p), .events = (short)(POLLIN | (has_news(p) ? POLLOUT : 0))},
		{.fd = hears(p) ? transport_fd(t) : -1, .events = POLLIN},
	};
	bool ahead = hears(p) && transport_pending(t);
	int r = 0;

	if (poll(f, 2, ahead ? 0 : -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (f[0].revents & POLLOUT)
		r = push(p);
	if (r == 0 && (f[0].revents & ~POLLOUT))
		r = pass_on(p);
	if (r == 0 && (ahead || f[1].revents))
		r = take(p);
	return r;
}

static void carry_pages(struct porter *p)
{
	struct err e = ERR_INIT;
	int r;

	if (p->wishes >= 0)
		r = asker_serve(&p->peer, worker_fd(p), p->line, p->wishes, &e);
	else
		r = receiver_serve(&p->peer, &p->worker, p->line, &e);
	if (r == 0 || is_hang_up(&e))
		return;
	channel_abort(&p->worker, &e);
	/* The peer is to hear why on the control channel, before this one ends. */
	fd_wait(worker_fd(p), POLLIN, DEADLINE_NEVER);
}

int porter_serve(struct transport *peer, struct transport *worker)
{
	struct porter *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p) {
		transport_free(peer);
		transport_free(worker);
		return -ENOMEM;
	}
	channel_init(&p->peer, peer, CHANNEL_CONTROL, false);
	channel_init(&p->worker, worker, CHANNEL_BULK, true);
	/* A message, and why there are no more. */
	buf_init(&p->out, 2 * (FRAME_PAYLOAD_MAX + FRAME_HEADER));
	p->wishes = -1;
	while (r == 0 && !p->line)
		r = step(p);
	if (r == 0)
		carry_pages(p);
	keeper_line_free(p->line);
	fd_close(&p->wishes);
	buf_done(&p->out);
	channel_done(&p->peer);
	channel_done(&p->worker);
	free(p);
	return r < 0 ? r : 0;
}

/* --- the handshake ---------------------------------------------------------------------------- */

struct greeting {
	int worker;
	uint64_t deadline;
};

static bool ask_worker(const uint8_t key[static FINGERPRINT_LEN], void *ctx)
{
	const struct greeting *g = ctx;
	uint8_t question[1 + FINGERPRINT_LEN] = {PORTER_KEY}, answer = 0;

	memcpy(question + 1, key, FINGERPRINT_LEN);
	return fd_write_all(g->worker, question, sizeof(question), g->deadline) == 0 &&
		fd_read_all(g->worker, &answer, 1, g->deadline) == 0 && answer == 1;
}

static void put_proof(struct buf *b, const struct proof *p)
{
	const struct porter_proof head = {(uint32_t)p->key_len, (uint32_t)p->messages.len};

	buf_put(b, &head, sizeof(head));
	buf_put(b, p->key, p->key_len);
	buf_put(b, p->messages.data, p->messages.len);
}

/* @p: NULL when there is nothing to prove. */
static void tell_outcome(const struct greeting *g, const struct proof *p, int r, const struct err *e)
{
	_cleanup_buf_ struct buf b;

	buf_init(&b, FRAME_PAYLOAD_MAX);
	buf_put_u8(&b, r < 0 ? PORTER_FAILED : PORTER_UP);
	if (r < 0)
		say_why(&b, e);
	else if (p)
		put_proof(&b, p);
	fd_write_all(g->worker, b.data, b.len, g->deadline);
}

/* A sanitizer's last words go to standard error. */
static void leave_worker(const struct porter_start *s)
{
	int keep[] = {s->in, s->out, s->worker}, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_NAME, "godwit-porter");
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
#ifndef __SANITIZE_ADDRESS__
	dup2(null, STDERR_FILENO);
#endif
	fd_close_others(STDERR_FILENO + 1, keep, sizeof(keep) / sizeof(keep[0]));
}

static int become_porter(struct greeting *g, const struct porter_start *s, struct proof *p, struct transport **ret,
	struct err *e)
{
	int r;

	leave_worker(s);
	/* The library reads its configuration here, and nothing of the peer. */
	if (s->self)
		r = transport_tls_server(s->in, s->self, ask_worker, g, p, ret, e);
	else
		r = transport_plain(s->in, s->out, ret, e);
	if (r < 0)
		return r;
	r = confine_process();
	return r < 0 ? err_sys(e, -r, "giving up rights") : 0;
}

void porter_main(const struct porter_start *s)
{
	struct greeting g = {s->worker, s->deadline};
	struct transport *t = NULL, *w = NULL;
	struct err e = ERR_INIT;
	struct proof p;
	int r;

	proof_init(&p, s->nonce);
	r = become_porter(&g, s, &p, &t, &e);
	if (r == 0 && s->self)
		r = transport_handshake(t, s->deadline, &e);
	tell_outcome(&g, s->self ? &p : NULL, r, &e);
	proof_done(&p);
	if (r == 0)
		r = transport_plain(s->worker, s->worker, &w, &e);
	if (r == 0)
		r = porter_serve(t, w);
	_exit(r < 0);
}
