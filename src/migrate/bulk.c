/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/bulk.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/thread.h"
#include "kernel/tcp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* --- the sender's sinks ---------------------------------------------------------------------- */

static int sink_pages(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages,
	enum codec_encoding encoding, const void *data, size_t len, struct err *e)
{
	struct msg_pages m = {
		.vpid = vpid,
		.encoding = (uint8_t)encoding,
		.pages = (uint16_t)pages,
		.addr = addr,
		.data = {data, len},
	};

	if (FAULT(source_page_sent, e) < 0)
		return -e->code;
	return channel_send_data(ctx, MSG_PAGES, &m, &m.data, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int sink_zeros(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e)
{
	struct msg_zeros m = {.vpid = vpid, .pages = pages, .addr = addr};

	return channel_send(ctx, MSG_ZEROS, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int sink_forget(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e)
{
	struct msg_dirty m = {.vpid = vpid, .pages = pages, .addr = addr};

	return channel_send(ctx, MSG_DIRTY, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int sink_cut(void *ctx, struct err *e)
{
	return channel_send(ctx, MSG_CUT, NULL, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int sink_mark(void *ctx, struct err *e)
{
	struct msg m;
	int r = channel_send(ctx, MSG_MARK, NULL, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	return r < 0 ? r : channel_expect(ctx, MSG_MARK, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int sink_end(void *ctx, uint64_t pages, uint64_t bytes, struct err *e)
{
	struct msg_bulk_end m = {.pages = pages, .bytes = bytes};

	return channel_send(ctx, MSG_BULK_END, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static double sink_rate(void *ctx, double known)
{
	struct channel *c = ctx;

	return tcp_rate_after(transport_wire(c->transport), known);
}

struct page_sink bulk_sink(struct channel *c)
{
	return (struct page_sink){
		.ctx = c,
		.pages = sink_pages,
		.zeros = sink_zeros,
		.forget = sink_forget,
		.cut = sink_cut,
		.mark = sink_mark,
		.end = sink_end,
		.link_rate = sink_rate,
	};
}

/* --- taking pages ---------------------------------------------------------------------------- */

static int take_pages(struct keeper_line *l, const struct msg_pages *m, struct err *e)
{
	void *room;
	int r = keeper_room(l, &room);

	if (r != 0)
		return r;
	r = FAULT(target_page_came, e);
	if (r < 0)
		return r;
	r = codec_decode(m->encoding, m->data.p, m->data.len, room, PAGES_TO_BYTES(m->pages));
	if (r < 0)
		return err_set(e, ERR_PEER, EBADMSG, "pages that can not be decoded");
	return keeper_put(l, m->vpid, m->addr, m->pages, room);
}

static int hand_over(struct keeper_line *l, const struct msg *m, struct err *e)
{
	const struct msg_zeros *z = &m->body.zeros;
	const struct msg_dirty *d = &m->body.dirty;

	switch (m->type) {
	case MSG_PAGES:
		return take_pages(l, &m->body.pages, e);
	case MSG_ZEROS:
		return keeper_put(l, z->vpid, z->addr, z->pages, NULL);
	case MSG_DIRTY:
		return keeper_forget(l, d->vpid, d->addr, d->pages);
	default:
		return err_set(e, ERR_PEER, EPROTO, "%s among the pages", msg_name(m->type));
	}
}

int bulk_take(struct keeper_line *l, const struct msg *m, struct err *e)
{
	int r = hand_over(l, m, e);

	return r < 0 && !err_is_set(e) ? keeper_line_error(l, r, e) : r;
}

/* A cut or an end for the worker, or a mark's answer for the peer: it holds when all that came before it is
 * done. */
static int say_when_done(struct channel *to, struct keeper_line *l, const struct msg *m, struct err *e)
{
	int done = keeper_flush(l);

	if (done < 0)
		return keeper_line_error(l, done, e);
	return channel_send(to, m->type, &m->body, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

/* 1: the end. */
static int receive_one(struct channel *c, struct channel *worker, struct keeper_line *l, struct err *e)
{
	struct msg m;
	int r = channel_recv(c, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r < 0)
		return r;
	if (m.type == MSG_CUT || m.type == MSG_BULK_END || m.type == MSG_MARK)
		r = say_when_done(m.type == MSG_MARK ? c : worker, l, &m, e);
	else
		r = bulk_take(l, &m, e);
	if (r == 0)
		r = m.type == MSG_BULK_END;
	msg_done(&m);
	return r;
}

int receiver_serve(struct channel *c, struct channel *worker, struct keeper_line *l, struct err *e)
{
	int stop = transport_fd(worker->transport), r = 0;

	while (r == 0) {
		r = channel_wait(c, stop, DEADLINE_NEVER);
		if (r == 0)
			return 0;
		r = r < 0 ? err_sys(e, -r, "waiting for the peer") : receive_one(c, worker, l, e);
		thread_breathe();
	}
	/* The source may close it when it likes. */
	return r < 0 ? r : fd_wait(stop, POLLIN, DEADLINE_NEVER);
}

/* --- answering faults ------------------------------------------------------------------------ */

struct answerer {
	struct channel channel; /* owned; the thread's alone */
	const struct space *space;
	struct codec *codec; /* NULL where compressing isn't worth a thought */
	pthread_t thread;
	int stop, event;      /* owned eventfds */
	pthread_mutex_t lock; /* of the error */
	struct err error;
	uint8_t room[PAGES_TO_BYTES(WIRE_PAGES_MAX)];
};

static int send_answer(struct answerer *a, const struct msg_fault *f, struct err *e)
{
	size_t len = PAGES_TO_BYTES(f->pages);
	enum codec_encoding how = CODEC_RAW;
	const void *data = a->room;

	if (a->codec)
		how = codec_encode(a->codec, a->room, len, &data, &len);
	return sink_pages(&a->channel, f->vpid, f->addr, f->pages, how, data, len, e);
}

static int answer(struct answerer *a, const struct msg *m, struct err *e)
{
	const struct msg_fault *f = &m->body.fault;
	const struct process *p;
	bool zero;
	int r;

	if (m->type != MSG_FAULT)
		return err_set(e, ERR_PEER, EPROTO, "%s among the faults", msg_name(m->type));
	if (FAULT(source_fault_came, e) < 0)
		return -e->code;
	p = space_find(a->space, f->vpid);
	if (!p)
		return err_set(e, ERR_PEER, ESRCH, "a fault of process %u, which is unknown",
			f->vpid);
	r = process_read(p, f->addr, f->pages, a->room);
	if (r < 0)
		return err_sys(e, -r, "reading page %#llx of process %u",
			(unsigned long long)f->addr, f->vpid);
	if (codec_run(a->room, f->pages, &zero) == f->pages && zero)
		return sink_zeros(&a->channel, f->vpid, f->addr, f->pages, e);
	return send_answer(a, f, e);
}

static int answer_one(struct answerer *a, struct err *e)
{
	struct msg m;
	int r = channel_recv(&a->channel, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r < 0)
		return r;
	r = answer(a, &m, e);
	msg_done(&m);
	return r;
}

static void *answer_all(void *arg)
{
	struct answerer *a = arg;
	struct err e = ERR_INIT;
	int r;

	do {
		r = channel_wait(&a->channel, a->stop, DEADLINE_NEVER);
		if (r == 0)
			return NULL;
		r = r < 0 ? err_sys(&e, -r, "waiting for the peer") : answer_one(a, &e);
		thread_breathe();
	} while (r == 0);
	pthread_mutex_lock(&a->lock);
	a->error = e;
	pthread_mutex_unlock(&a->lock);
	eventfd_write(a->event, 1);
	return NULL;
}

static void answerer_done(struct answerer *a)
{
	fd_close(&a->stop);
	fd_close(&a->event);
	codec_free(a->codec);
	channel_done(&a->channel);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

int answerer_start(struct channel *c, const struct space *space, double link_rate, struct answerer **ret,
	struct err *e)
{
	struct answerer *a = calloc(1, sizeof(*a));
	int r;

	if (!a) {
		channel_done(c);
		return err_sys(e, ENOMEM, "answering faults");
	}
	a->channel = *c;
	a->space = space;
	if (link_rate > 0 && (a->codec = codec_new()))
		codec_expect(a->codec, link_rate);
	a->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	a->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&a->lock, NULL);
	r = a->stop < 0 || a->event < 0 ? EMFILE : pthread_create(&a->thread, NULL, answer_all, a);
	if (r == 0) {
		*ret = a;
		return 0;
	}
	answerer_done(a);
	return err_sys(e, r, "starting a thread");
}

int answerer_event_fd(const struct answerer *a)
{
	return a->event;
}

int answerer_result(struct answerer *a, struct err *e)
{
	int r;

	pthread_mutex_lock(&a->lock);
	r = err_is_set(&a->error) ? -a->error.code : 0;
	if (r < 0 && e)
		*e = a->error;
	pthread_mutex_unlock(&a->lock);
	return r;
}

uint64_t answerer_bytes(const struct answerer *a)
{
	return transport_written(a->channel.transport);
}

void answerer_free(struct answerer *a)
{
	if (!a)
		return;
	eventfd_write(a->stop, 1);
	transport_cut(a->channel.transport);
	pthread_join(a->thread, NULL);
	answerer_done(a);
}
