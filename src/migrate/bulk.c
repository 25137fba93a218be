/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/bulk.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* How long a peer may leave a message half sent or not take one. */

/* --- a thread around a channel --------------------------------------------------------------- */

/* What both kinds of thread share: they take messages until they are told to stop or fail. */
struct worker {
	struct channel channel; /* owned; the thread's alone */
	pthread_t thread;
	struct thread_priority priority;
	int stop, event; /* owned eventfds */
	pthread_mutex_t lock; /* of the two below */
	struct err error;
	bool finished;
	/* 0: go on; 1: the end; negative: failed. */
	int (*take)(void *owner, const struct msg *m, struct err *e);
	void *owner;
};

static void worker_ended(struct worker *w, int r, const struct err *e)
{
	pthread_mutex_lock(&w->lock);
	w->finished = r == 1;
	if (r < 0)
		w->error = *e;
	pthread_mutex_unlock(&w->lock);
	eventfd_write(w->event, 1);
}

static int worker_step(struct worker *w, struct err *e)
{
	struct msg m;
	int r = channel_recv(&w->channel, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);

	if (r < 0)
		return r;
	r = w->take(w->owner, &m, e);
	msg_done(&m);
	return r;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct err e = ERR_INIT;
	int r;

	thread_priority_begin(&w->priority);
	do {
		r = channel_wait(&w->channel, w->stop, DEADLINE_NEVER);
		if (r == 0)
			return NULL;
		r = r < 0 ? err_sys(&e, -r, "waiting for the peer") : worker_step(w, &e);
		thread_breathe();
	} while (r == 0);
	worker_ended(w, r, &e);
	return NULL;
}

/* Takes over @c. */
static int worker_start(struct worker *w, struct channel *c,
	int (*take)(void *owner, const struct msg *m, struct err *e), void *owner, struct err *e)
{
	int r;

	w->channel = *c;
	w->take = take;
	w->owner = owner;
	w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&w->lock, NULL);
	r = w->stop < 0 || w->event < 0 ? EMFILE : pthread_create(&w->thread, NULL, worker_run, w);
	if (r == 0)
		return 0;
	fd_close(&w->stop);
	fd_close(&w->event);
	channel_done(&w->channel);
	return err_sys(e, r, "starting a thread");
}

static void worker_stop(struct worker *w)
{
	eventfd_write(w->stop, 1);
	transport_cut(w->channel.transport);
	pthread_join(w->thread, NULL);
	fd_close(&w->stop);
	fd_close(&w->event);
	channel_done(&w->channel);
	pthread_mutex_destroy(&w->lock);
}

static int worker_result(struct worker *w, struct err *e)
{
	int r;

	pthread_mutex_lock(&w->lock);
	r = err_is_set(&w->error) ? -w->error.code : 0;
	if (r < 0 && e)
		*e = w->error;
	pthread_mutex_unlock(&w->lock);
	return r;
}

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

static int sink_end(void *ctx, uint64_t pages, uint64_t bytes, struct err *e)
{
	struct msg_bulk_end m = {.pages = pages, .bytes = bytes};

	return channel_send(ctx, MSG_BULK_END, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

struct page_sink bulk_sink(struct channel *c)
{
	return (struct page_sink){
		.ctx = c,
		.pages = sink_pages,
		.zeros = sink_zeros,
		.forget = sink_forget,
		.cut = sink_cut,
		.end = sink_end,
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

	return r < 0 && !err_is_set(e) ? keeper_error(r, "keeping pages", e) : r;
}

struct receiver {
	struct worker worker;
	struct keeper_line *line;
	atomic_bool cut;
};

/* What the source says with a cut or an end holds when all that came before it is done. */
static int flush(struct receiver *r, struct err *e)
{
	int done = keeper_flush(r->line);

	return done < 0 ? keeper_error(done, "keeping pages", e) : 0;
}

static int receiver_take(void *owner, const struct msg *m, struct err *e)
{
	struct receiver *r = owner;
	int done;

	if (m->type != MSG_CUT && m->type != MSG_BULK_END)
		return bulk_take(r->line, m, e);
	done = flush(r, e);
	if (done < 0)
		return done;
	if (m->type == MSG_BULK_END)
		return 1;
	atomic_store(&r->cut, true);
	eventfd_write(r->worker.event, 1);
	return 0;
}

int receiver_start(struct channel *c, struct keeper_line *l, struct receiver **ret, struct err *e)
{
	struct receiver *r = calloc(1, sizeof(*r));
	int error;

	if (!r) {
		channel_done(c);
		return err_sys(e, ENOMEM, "receiver");
	}
	r->line = l;
	thread_priority_set(&r->worker.priority, true);
	error = worker_start(&r->worker, c, receiver_take, r, e);
	if (error < 0) {
		free(r);
		return error;
	}
	*ret = r;
	return 0;
}

void receiver_hurry(struct receiver *r)
{
	thread_priority_set(&r->worker.priority, false);
}

int receiver_event_fd(const struct receiver *r)
{
	return r->worker.event;
}

bool receiver_is_cut(struct receiver *r)
{
	return atomic_load(&r->cut);
}

int receiver_result(struct receiver *r, struct err *e)
{
	return worker_result(&r->worker, e);
}

bool receiver_finished(struct receiver *r)
{
	bool finished;

	pthread_mutex_lock(&r->worker.lock);
	finished = r->worker.finished;
	pthread_mutex_unlock(&r->worker.lock);
	return finished;
}

void receiver_free(struct receiver *r)
{
	if (!r)
		return;
	worker_stop(&r->worker);
	free(r);
}

/* --- answering faults ------------------------------------------------------------------------ */

struct answerer {
	struct worker worker;
	const struct space *space;
	uint8_t room[PAGES_TO_BYTES(WIRE_PAGES_MAX)];
};

static int answerer_take(void *owner, const struct msg *m, struct err *e)
{
	struct answerer *a = owner;
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
		return sink_zeros(&a->worker.channel, f->vpid, f->addr, f->pages, e);
	return sink_pages(&a->worker.channel, f->vpid, f->addr, f->pages, CODEC_RAW, a->room,
		PAGES_TO_BYTES(f->pages), e);
}

int answerer_start(struct channel *c, const struct space *space, struct answerer **ret,
	struct err *e)
{
	struct answerer *a = calloc(1, sizeof(*a));
	int r;

	if (!a) {
		channel_done(c);
		return err_sys(e, ENOMEM, "answering faults");
	}
	a->space = space;
	r = worker_start(&a->worker, c, answerer_take, a, e);
	if (r < 0) {
		free(a);
		return r;
	}
	*ret = a;
	return 0;
}

int answerer_event_fd(const struct answerer *a)
{
	return a->worker.event;
}

int answerer_result(struct answerer *a, struct err *e)
{
	return worker_result(&a->worker, e);
}

uint64_t answerer_bytes(const struct answerer *a)
{
	return transport_written(a->worker.channel.transport);
}

void answerer_free(struct answerer *a)
{
	if (!a)
		return;
	worker_stop(&a->worker);
	free(a);
}
