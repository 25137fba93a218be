/* SPDX-License-Identifier: Apache-2.0 */
/* The target while the container stands still: its images come, and it is restored up to the gate. */
#include "migrate/target_impl.h"

#include "base/clock.h"
#include "base/count.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/thread.h"
#include "criu/workplace.h"
#include "migrate/images.h"

#include <errno.h>
#include <stdlib.h>

#define DUMP_MS 660000 /* the source dumps, and sends nothing meanwhile: longer than it waits */

/* --- receive ---------------------------------------------------------------------------------- */

/* The first message of them. A copy may take as long as it takes, as long as something comes. */
static int wait_images(struct target *t, struct msg *ret, struct err *e)
{
	uint64_t before, now = 0;
	int r;

	*ret = MSG_INIT;
	do {
		before = now;
		r = target_wait_input(t, deadline_in_ms(DUMP_MS), e);
		if (r == 0)
			r = target_take_message(t, ret, e);
		now = memory_in_stats(&t->memory).arrived;
	} while ((r == 0 && ret->type == MSG_NONE) || (r == -ETIMEDOUT && !err_is_set(e) && now != before));
	return r == -ETIMEDOUT && !err_is_set(e)
		? err_set(e, ERR_PEER, ETIMEDOUT, "the source is silent") : r;
}

static int take_image(struct images_in *in, const struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_IMAGE:
		return images_take(in, &m->body.image, e);
	case MSG_IMAGES_END:
		return images_finish(in, &m->body.images_end, e);
	default:
		return err_set(e, ERR_PEER, EPROTO, "%s among the images", msg_name(m->type));
	}
}

static int take_images(struct target *t, struct images_in *in, struct err *e)
{
	struct msg m;
	int r = wait_images(t, &m, e);
	bool end = false;

	/* The source stands still, and CRIU waits for our answers. */
	thread_come_first(0, true);
	t->images_from = clock_now();
	while (r == 0 && !end) {
		end = m.type == MSG_IMAGES_END;
		r = take_image(in, &m, e);
		msg_done(&m);
		if (r == 0 && !end)
			r = target_wait_message(t, &m, deadline_in_ms(DUMP_MS), e);
	}
	msg_done(&m);
	return r;
}

/* The restored sockets may be bound to it, so it must be here before. */
static int add_address(struct target *t, struct err *e)
{
	uint64_t start = clock_now();
	int r;

	r = arrival_take(&t->arrival, &t->waiter, e);
	t->address_ns = clock_now() - start;
	return r;
}

int target_run_receive(void *ctx, struct err *e)
{
	struct target *t = ctx;
	const struct oci_config *c = &t->request.config;
	struct images_in in;
	int r;

	images_in_init(&in, WORKPLACE_IMAGES, c->own_network && !c->netns, target_physical_bytes());
	r = take_images(t, &in, e);
	t->images_to = clock_now();
	if (r == 0)
		r = FAULT(target_images_came, e);
	if (r == 0)
		r = memory_in_wait_cuts(&t->memory, e);
	if (r == 0)
		r = memory_in_expect(&t->memory, WORKPLACE_IMAGES, e);
	if (r == 0)
		r = FAULT(target_expected, e);
	if (r == 0)
		r = add_address(t, e);
	if (r == 0)
		r = FAULT(target_address_added, e);
	if (r == 0)
		r = restore_feed(&t->restore, &in.inventory, e);
	if (r == 0)
		r = FAULT(target_fed, e);
	images_in_done(&in);
	return r;
}

/* --- restore ---------------------------------------------------------------------------------- */

int target_send_phases(struct target *t, enum msg_type type, struct err *e)
{
	struct msg_phase p[] = {
		{msg_string("images"), t->images_to - t->images_from},
		{msg_string("restore"), t->restore.gate_at - t->restore.started},
		{msg_string("address"), t->address_ns},
		{msg_string("announced"), t->arrival.announced_at ? clock_now() - t->arrival.announced_at : 0},
	};
	struct msg_phases m = {.list = {p, COUNT(p)}};

	return target_send_control(t, type, &m, e);
}

/* While the source commits. */
static void look_at_connections(struct target *t)
{
	_cleanup_free_ pid_t *processes = NULL;
	size_t n;

	if (restore_processes(&t->restore, &processes, &n) == 0)
		arrival_look(&t->arrival, processes, n);
}

/* CRIU may have waited for a page. */
static void tell_what_came(struct target *t)
{
	struct pager_stats s = memory_in_stats(&t->memory);

	request_log(&t->request,
		"not restored when %llu pages had come; %llu were lacking, %llu had been touched, %llu of them "
		"too early",
		(unsigned long long)s.arrived, (unsigned long long)s.pending, (unsigned long long)s.faults,
		(unsigned long long)s.urgent);
}

int target_run_restore(void *ctx, struct err *e)
{
	struct target *t = ctx;
	int r = restore_to_gate(&t->restore, &t->waiter, e);

	if (r < 0) {
		tell_what_came(t);
		return r;
	}
	cgroup_warm_stop(&t->warmer);
	r = FAULT(target_at_gate, e);
	if (r == 0)
		r = memory_in_open(&t->memory, e);
	/* The source stands still, and still has it: not for ever. */
	if (r == 0 && !msg_mode_is_lazy(t->request.mode))
		r = memory_in_wait_all(&t->memory, CHANNEL_SILENCE_MS, e);
	if (r == 0)
		r = target_send_phases(t, MSG_RESTORED, e);
	if (r < 0)
		return r;
	look_at_connections(t);
	return FAULT(target_restored, e);
}
