/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/await.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

/* A stranger who has seen the token can keep the door for so long. */
#define GREET_MS 5000

static int take_control(struct entrance *n, struct comeback *ret, struct err *e)
{
	struct msg_hello hello;
	struct msg m = MSG_INIT;
	int r = entrance_next(n, &ret->control, &hello, GREET_MS, e);

	if (r < 0)
		return r;
	if (hello.channel != CHANNEL_CONTROL)
		return err_set(e, ERR_PEER, EPROTO, "a source comes again with its control channel");
	r = channel_expect(&ret->control, MSG_RESUME, &m, deadline_in_ms(GREET_MS), e);
	ret->streams = m.body.resume.streams;
	msg_done(&m);
	return r;
}

static int take_other(struct entrance *n, struct memory_in *m, struct err *e)
{
	struct msg_hello hello;
	struct channel c;
	int r = entrance_next(n, &c, &hello, GREET_MS, e);

	return r < 0 ? r : memory_in_add(m, &c, &hello, e);
}

int await_take(struct entrance *n, struct memory_in *m, struct comeback *ret, struct err *e)
{
	int r;

	*ret = (struct comeback){0};
	r = take_control(n, ret, e);
	m->streams = ret->streams;
	for (unsigned i = 0; r == 0 && i < ret->streams + 1; i++)
		r = take_other(n, m, e);
	if (r < 0) {
		memory_in_part(m);
		channel_done(&ret->control);
		entrance_let_go(n);
	}
	return r;
}

/* --- what is lacking -------------------------------------------------------------------------- */

struct list {
	struct channel *control;
	struct msg_lack v[WIRE_LACKS_MAX];
	size_t n;
};

static int send_list(struct list *l, bool more, struct err *e)
{
	struct msg_lacking m = {.more = more, .list = {l->v, l->n}};

	l->n = 0;
	return channel_send(l->control, MSG_LACKING, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int add_range(struct list *l, uint32_t vpid, struct range g, struct err *e)
{
	int r = 0;

	while (r == 0 && g.start < g.end) {
		uint64_t pages = BYTES_TO_PAGES(g.end - g.start);

		if (l->n == WIRE_LACKS_MAX)
			r = send_list(l, true, e);
		if (pages > WIRE_ZEROS_MAX)
			pages = WIRE_ZEROS_MAX;
		l->v[l->n++] = (struct msg_lack){vpid, (uint32_t)pages, g.start};
		g.start += PAGES_TO_BYTES(pages);
	}
	return r;
}

static int tell_all(struct list *l, struct keeper *k, struct err *e)
{
	uint32_t vpid = 0;
	int r = 1;

	while (r == 1) {
		_cleanup_ranges_ struct ranges lacks = RANGES_INIT;

		r = keeper_lacking(k, vpid, &vpid, &lacks);
		if (r < 0)
			return keeper_error(r, "list of what is lacking", e);
		for (size_t i = 0; r == 1 && i < lacks.n; i++)
			if (add_range(l, vpid, lacks.v[i], e) < 0)
				return -e->code;
	}
	return send_list(l, false, e);
}

int await_tell(struct channel *control, struct keeper *k, struct err *e)
{
	struct list *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_sys(e, ENOMEM, "list of what is lacking");
	l->control = control;
	r = tell_all(l, k, e);
	free(l);
	return r;
}
