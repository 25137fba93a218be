/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/request.h"

#include "base/clock.h"
#include "base/fault.h"
#include "migrate/answer.h"
#include "migrate/journal.h"
#include "migrate/offer.h"
#include "migrate/verdicts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* While it is heard. */
struct hearing {
	struct request *r;
	const struct guest *guest;
	struct entrance *entrance;
	struct arrival *arrival;
};

void request_log(const struct request *r, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "godwit: %s from %s: %s\n", r->container[0] ? r->container : "?", r->control->peer,
		text);
}

static void keep_offer(struct request *r, const struct msg_offer *m)
{
	memcpy(r->id, m->id, MSG_ID_LEN);
	snprintf(r->container, sizeof(r->container), "%s", msg_text(&m->container));
	snprintf(r->bundle, sizeof(r->bundle), "%s", msg_text(&m->bundle));
	r->streams = m->streams;
	r->flags = m->flags;
	r->mode = m->mode;
	r->memory_bytes = m->memory_bytes;
}

/* An offer that passed the checks has a configuration that is the same here. */
static int keep_config(struct hearing *h, const struct msg_offer *m, struct err *e)
{
	struct oci_config *c = &h->r->config;
	int r = oci_config_parse(m->config.p, m->config.len, h->r->bundle, c, e);

	return r < 0 ? r : arrival_init(h->arrival, c, &m->listeners, e);
}

/* `godwit recover` deletes by name: what an earlier migration has left is settled before another comes. */
static void check_unsettled(const struct request *r, struct verdicts *ret)
{
	struct err e = ERR_INIT;

	if (journal_check_free(r->container, &e) < 0)
		verdict_error(ret, "earlier migration", &e);
}

static int send_verdicts(struct hearing *h, const struct verdicts *v, struct err *e)
{
	return verdicts_send(h->r->control, v, h->entrance->token, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

/* 1 when it ends with the verdicts: refused, or a dry run. */
static int judge(struct hearing *h, const struct msg_offer *m, struct err *e)
{
	struct verdicts *l = calloc(1, sizeof(*l));
	bool ends;
	int r = 0;

	if (!l)
		return err_sys(e, ENOMEM, "checks");
	keep_offer(h->r, m);
	request_log(h->r, "offered, %llu MB", (unsigned long long)(m->memory_bytes / 1000000));
	guest_check_offer(h->guest, h->r->container, m->memory_bytes, l);
	if (verdicts_allow(l)) {
		check_unsettled(h->r, l);
		offer_check(m, l);
	}
	ends = !verdicts_allow(l) || (h->r->flags & OFFER_DRY_RUN);
	if (!ends)
		r = keep_config(h, m, e);
	if (r == 0 && !ends)
		r = entrance_open(h->entrance, e);
	if (r == 0)
		r = FAULT(target_offered, e);
	if (r == 0)
		r = send_verdicts(h, l, e);
	if (r == 0)
		r = FAULT(target_judged, e);
	if (ends)
		request_log(h->r, "%s", verdicts_allow(l) ? "checked only" : "refused");
	free(l);
	return r < 0 ? r : ends;
}

/* Only this host is asked for. */
static int answer_check(struct hearing *h, struct err *e)
{
	struct verdicts *l = calloc(1, sizeof(*l));
	struct host_facts *here = calloc(1, sizeof(*here));
	int r = 0;

	if (l && here) {
		guest_check(h->guest, l);
		if (verdicts_allow(l)) {
			host_facts_read(here);
			check_host(here, l);
		}
		r = send_verdicts(h, l, e);
	} else {
		r = err_sys(e, ENOMEM, "checks");
	}
	free(here);
	free(l);
	return r < 0 ? r : 1;
}

static int greet(struct hearing *h, struct err *e)
{
	static const uint8_t no_token[MSG_ID_LEN];
	struct channel *c = h->r->control;
	int r = channel_hello(c, 0, no_token, NULL, deadline_in_ms(REQUEST_HELLO_MS), e);

	if (r == 0 && c->kind != CHANNEL_CONTROL)
		r = err_set(e, ERR_PEER, EPROTO, "a new migration begins with its control channel");
	if (r == 0)
		r = guest_enter(h->guest, e);
	if (r == 0)
		r = FAULT(target_greeted, e);
	/* Journal and log name it as it is known here, not as it calls itself. */
	if (r == 0 && h->guest->peer.name[0])
		snprintf(c->peer, sizeof(c->peer), "%s", h->guest->peer.name);
	return r;
}

/* The source reads its whole root file system before it has something to say, and says it at once. */
static int receive(struct hearing *h, struct msg *ret, struct err *e)
{
	int r = channel_wait(h->r->control, -1, deadline_in_ms(REQUEST_DECIDE_MS));

	if (r < 0)
		return err_set(e, ERR_PEER, -r, "the source offers nothing");
	return channel_recv(h->r->control, ret, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int answer(struct hearing *h, const struct msg *m, struct err *e)
{
	char key[FINGERPRINT_TEXT];

	if (m->type == MSG_OFFER)
		return judge(h, &m->body.offer, e);
	if (m->type == MSG_CHECK)
		return answer_check(h, e);
	if (m->type == MSG_ASK)
		return answer_ask(h->r->control, &m->body.ask, entrance_peer(h->entrance, key), e);
	return err_set(e, ERR_PEER, EPROTO, "%s before OFFER", msg_name(m->type));
}

int request_hear(struct request *q, const struct guest *guest, struct entrance *entrance,
	struct arrival *arrival, struct err *e)
{
	struct hearing h = {.r = q, .guest = guest, .entrance = entrance, .arrival = arrival};
	struct msg m = MSG_INIT;
	int r = greet(&h, e);

	if (r == 0)
		r = receive(&h, &m, e);
	if (r == 0)
		r = answer(&h, &m, e);
	msg_done(&m);
	return r;
}

void request_done(struct request *r)
{
	oci_config_done(&r->config);
}
