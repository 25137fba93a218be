/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/flow.h"

#include "base/clock.h"
#include "kernel/tcp.h"
#include "migrate/warm.h"

#define BULK_SHARE 0.9 /* of what the link moves */

int flow_open_control(struct flow *f, const uint8_t token[static MSG_ID_LEN], struct err *e)
{
	int r = link_open(&f->link, CHANNEL_CONTROL, 0, token, &f->control,
		deadline_in_ms(FLOW_CONNECT_MS), e);

	f->connected = r == 0;
	if (r == 0)
		thread_come_first(transport_carrier(f->control.transport), true);
	return r;
}

int flow_open_others(struct flow *f, const uint8_t token[static MSG_ID_LEN], unsigned streams,
	struct err *e)
{
	uint64_t deadline = deadline_in_ms(FLOW_CONNECT_MS);
	int r = link_open(&f->link, CHANNEL_URGENT, 0, token, &f->urgent, deadline, e);

	if (r == 0)
		thread_come_first(transport_carrier(f->urgent.transport), true);
	for (unsigned i = 0; r == 0 && i < streams; i++) {
		r = link_open(&f->link, CHANNEL_BULK, (uint8_t)i, token, &f->bulk[i], deadline, e);
		if (r < 0)
			break;
		thread_priority_init(&f->porters[i], transport_carrier(f->bulk[i].transport), true);
		f->n_bulk++;
	}
	return r;
}

int flow_start_sender(struct flow *f, struct err *e)
{
	struct page_sink sinks[SENDER_STREAMS_MAX];

	for (size_t i = 0; i < f->n_bulk; i++)
		sinks[i] = bulk_sink(&f->bulk[i]);
	return sender_new(sinks, f->n_bulk, &f->sender, e);
}

int flow_start_answerer(struct flow *f, const struct space *space, struct err *e)
{
	struct channel c = f->urgent;

	f->urgent = (struct channel){0};
	return answerer_start(&c, space, flow_link_rate(f), &f->answerer, e);
}

static int on_sender(void *ctx, struct err *e)
{
	struct flow *f = ctx;
	int r = sender_result(f->sender, e);

	return r < 0 ? r : 1;
}

static int on_answerer(void *ctx, struct err *e)
{
	struct flow *f = ctx;
	int r = answerer_result(f->answerer, e);

	return r < 0 ? r : 1;
}

int flow_watch(struct flow *f, struct waiter *w, struct err *e)
{
	int r = 0;

	flow_unwatch(f, w);
	if (f->sender)
		r = waiter_add(w, sender_event_fd(f->sender), on_sender, f);
	if (r == 0 && f->answerer)
		r = waiter_add(w, answerer_event_fd(f->answerer), on_answerer, f);
	return r < 0 ? err_sys(e, -r, "waiting for the streams") : 0;
}

void flow_unwatch(struct flow *f, struct waiter *w)
{
	if (f->sender)
		waiter_remove(w, sender_event_fd(f->sender));
	if (f->answerer)
		waiter_remove(w, answerer_event_fd(f->answerer));
}

void flow_hurry(struct flow *f)
{
	if (f->sender)
		sender_hurry(f->sender);
	for (size_t i = 0; i < f->n_bulk; i++)
		thread_priority_set(&f->porters[i], false);
}

static uint64_t sent_pages(const struct flow *f)
{
	struct sender_stats st = f->sender ? sender_stats(f->sender) : (struct sender_stats){0};

	return st.pages;
}

void flow_stop_sender(struct flow *f)
{
	f->pages += sent_pages(f);
	for (size_t i = 0; i < f->n_bulk; i++)
		transport_cut(f->bulk[i].transport);
	sender_free(f->sender);
	f->sender = NULL;
}

uint64_t flow_bytes(const struct flow *f)
{
	uint64_t n = f->bytes + (f->connected ? transport_written(f->control.transport) : 0);

	for (size_t i = 0; i < f->n_bulk; i++)
		n += transport_written(f->bulk[i].transport);
	return n + (f->answerer ? answerer_bytes(f->answerer) : 0);
}

uint64_t flow_pages(const struct flow *f)
{
	return f->pages + sent_pages(f);
}

double flow_link_rate(const struct flow *f)
{
	double rate = 0;

	for (size_t i = 0; i < f->n_bulk; i++)
		rate += tcp_rate(transport_wire(f->bulk[i].transport));
	return rate > 0 ? rate : tcp_rate(transport_wire(f->control.transport));
}

void flow_leave_room(struct flow *f, uint64_t limit)
{
	uint64_t rate = (uint64_t)(BULK_SHARE * flow_link_rate(f));

	if (rate > 0 && warm_is_long(&f->control))
		sender_limit(f->sender, limit > 0 && limit < rate ? limit : rate);
}

/* Threads first, then what they use. */
void flow_cut(struct flow *f)
{
	f->bytes = flow_bytes(f);
	flow_stop_sender(f);
	answerer_free(f->answerer);
	f->answerer = NULL;
	channel_done(&f->urgent);
	for (size_t i = 0; i < f->n_bulk; i++)
		channel_done(&f->bulk[i]);
	f->n_bulk = 0;
	channel_done(&f->control);
	f->connected = false;
	link_close(&f->link);
}

void flow_done(struct flow *f)
{
	flow_cut(f);
}
