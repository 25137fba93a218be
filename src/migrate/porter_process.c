/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The porter's process. It passes on what the peer says as soon as the worker has room for it, and what the
 * worker says as soon as it says it: so neither waits for the other because both have much to say. (Of a source
 * and its target only one ever has.)
 */
#include "migrate/porter_impl.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
#include "kernel/confine.h"
#include "mem/codec.h"
#include "migrate/asker.h"
#include "migrate/bulk.h"
#include "wire/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A message, and a record before it. */
#define IN_MAX (FRAME_HEADER + FRAME_PAYLOAD_MAX + sizeof(struct lane_record))
#define GATHERED_MAX (64 * 1024)

struct porter {
	struct channel peer, worker;
	struct buf out; /* for the worker */
	size_t sent;	/* bytes of that */
	uint8_t in[IN_MAX]; /* of the worker */
	size_t n_in;	    /* bytes of that, of a source's */
	uint8_t gathered[GATHERED_MAX];
	size_t n_gathered;
	uint8_t image[MSG_DATA_MAX]; /* a piece that came compressed */
	struct lane *lane; /* borrowed; the worker is a source, else NULL */
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

/* Of a channel on which pages come the HELLO is passed on; what follows waits for the line. */
static bool can_hear(const struct porter *p)
{
	return !p->deaf && (p->lane || p->peer.kind == CHANNEL_CONTROL);
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

/* A reason of ours, which the worker must not take for the peer's word: of class "none". */
static void say_why(struct buf *out, const struct err *e)
{
	struct msg_abort m = channel_reason(e);

	m.class = ERR_NONE;
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
		if (!p->lane)
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

/* The peer takes nothing any more: what it has said before that, or else why it is so. */
static void pass_last_words(struct porter *p, const struct err *e)
{
	uint64_t deadline = deadline_in_ms(CHANNEL_SILENCE_MS);
	int r = 0;

	if (!p->deaf && !is_hang_up(e))
		end_hearing(p, e);
	while (r == 0 && (has_news(p) || can_hear(p))) {
		r = has_news(p) ? fd_wait(worker_fd(p), POLLOUT, deadline) : 0;
		if (r == 0)
			r = has_news(p) ? push(p) : take(p);
	}
}

/* @data, which may be NULL, goes behind @head. */
static int tell_peer(struct porter *p, const void *head, size_t len, const void *data, size_t data_len)
{
	struct err e = ERR_INIT;
	int r = transport_write(p->peer.transport, head, len, data, data_len, deadline_in_ms(CHANNEL_SILENCE_MS), &e);

	if (r < 0)
		pass_last_words(p, &e);
	return r;
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
	return r < 0 ? r : tell_peer(p, p->in, FRAME_HEADER + len, NULL, 0);
}

/* --- from a source to the peer ---------------------------------------------------------------- */

static int tell_gathered(struct porter *p)
{
	int r = p->n_gathered > 0 ? tell_peer(p, p->gathered, p->n_gathered, NULL, 0) : 0;

	p->n_gathered = 0;
	return r;
}

/* Small messages leave together: single pages that are scattered over a process come by the thousand. */
static int gather(struct porter *p, const uint8_t *data, size_t len)
{
	int r = len > sizeof(p->gathered) - p->n_gathered ? tell_gathered(p) : 0;

	if (r < 0 || len > sizeof(p->gathered))
		return r < 0 ? r : tell_peer(p, data, len, NULL, 0);
	memcpy(p->gathered + p->n_gathered, data, len);
	p->n_gathered += len;
	return 0;
}

static int tell_slot(struct porter *p, size_t len)
{
	int r = tell_peer(p, p->gathered, p->n_gathered, lane_next(p->lane), len);

	p->n_gathered = 0;
	return r < 0 ? r : lane_took(p->lane);
}

/* The first of the records that have come; their bytes; 0 when it has not come whole. */
static ssize_t pass_record(struct porter *p, const uint8_t *from, size_t len)
{
	struct lane_record n;
	int r;

	if (len < sizeof(n))
		return 0;
	memcpy(&n, from, sizeof(n));
	if (n.in_stream > sizeof(p->in) - sizeof(n) || n.in_slot > LANE_SLOT)
		return -EMSGSIZE;
	if (len - sizeof(n) < n.in_stream)
		return 0;
	r = gather(p, from + sizeof(n), n.in_stream);
	if (r == 0 && n.in_slot > 0)
		r = tell_slot(p, n.in_slot);
	return r < 0 ? r : (ssize_t)(sizeof(n) + n.in_stream);
}

static int pass_records(struct porter *p)
{
	ssize_t got = recv(worker_fd(p), p->in + p->n_in, sizeof(p->in) - p->n_in, MSG_DONTWAIT), used;
	size_t done = 0;

	if (got <= 0)
		return got == 0 ? 1 : errno == EAGAIN || errno == EINTR ? 0 : -errno;
	p->n_in += (size_t)got;
	while ((used = pass_record(p, p->in + done, p->n_in - done)) > 0)
		done += (size_t)used;
	if (used < 0)
		return (int)used;
	p->n_in -= done;
	memmove(p->in, p->in + done, p->n_in);
	return tell_gathered(p);
}

/* --- both ------------------------------------------------------------------------------------- */

static bool hears(const struct porter *p)
{
	return can_hear(p) && !has_news(p);
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
		r = p->lane ? pass_records(p) : pass_on(p);
	if (r == 0 && (ahead || f[1].revents))
		r = take(p);
	thread_breathe();
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
	e.class = ERR_NONE;
	channel_abort(&p->worker, &e);
	/* The peer is to hear why on the control channel, before this one ends. */
	fd_wait(worker_fd(p), POLLIN, DEADLINE_NEVER);
}

int porter_serve(struct transport *peer, struct transport *worker, struct lane *lane, enum msg_channel kind)
{
	struct porter *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p) {
		transport_free(peer);
		transport_free(worker);
		return -ENOMEM;
	}
	p->lane = lane;
	channel_init(&p->peer, peer, kind, lane != NULL);
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
	int keep[] = {s->in, s->out, s->worker, s->lane ? lane_fd(s->lane) : s->in};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

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
	if (s->self && s->calls)
		r = transport_tls_client(s->in, s->self, ask_worker, g, p, ret, e);
	else if (s->self)
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

	proof_init(&p, porter_proves(s), s->nonce);
	r = become_porter(&g, s, &p, &t, &e);
	if (r == 0 && s->self)
		r = transport_handshake(t, s->deadline, &e);
	tell_outcome(&g, s->self ? &p : NULL, r, &e);
	proof_done(&p);
	if (r == 0)
		r = transport_plain(s->worker, s->worker, &w, &e);
	if (r == 0)
		r = porter_serve(t, w, s->lane, s->lane ? s->kind : CHANNEL_CONTROL);
	_exit(r < 0);
}
