/* SPDX-License-Identifier: Apache-2.0 */
/* The source while the container stands still: it is dumped, and images and memory go over. */
#include "migrate/source_impl.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"
#include "criu/images.h"
#include "criu/workplace.h"
#include "migrate/images.h"

#include <errno.h>
#include <stdlib.h>

#define GIVE_UP_MS 2000 /* for the target to confirm that it has stopped */

int source_get_ready(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r = source_send_control(s, MSG_FREEZE, NULL, e);

	return r < 0 ? r : warm_up(&s->flow.control, eager_total(&s->facts.eager), &s->warmth, &s->waiter, e);
}

void source_stop_sending(struct source *s)
{
	flow_unwatch(&s->flow, &s->waiter);
	flow_stop_sender(&s->flow);
}

/* --- dump ------------------------------------------------------------------------------------- */

int source_run_dump(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r = source_get_ready(s, e);

	if (r < 0)
		return source_explain(s, r, e);
	report_phase(s->report, "freeze", "the container stands still and is dumped");
	r = s->looks_itself ? 0 : large_look(&s->large, s->facts.c.cgroup, e);
	/* Before packets are held: to them that would be a part of the freeze. */
	if (r == 0)
		cgroup_rhythm_await(&s->rhythm);
	if (r == 0)
		r = departure_hold(&s->departure, &s->waiter, e);
	if (r == 0)
		r = FAULT(source_held, e);
	/* Unless all of the bulk is waited for anyway. */
	if (msg_mode_is_lazy(s->o->mode))
		flow_leave_room(&s->flow, s->o->bandwidth);
	flow_hurry(&s->flow);
	/* CRIU waits for its answers. */
	thread_come_first(0, true);
	if (r == 0)
		r = dump_freeze(&s->dump, e);
	if (r == 0)
		r = FAULT(source_frozen, e);
	if (r == 0)
		r = large_narrow(&s->large, e);
	if (r < 0)
		return r;
	dump_begin(&s->dump);
	r = journal_step(&s->journal, "frozen", e);
	if (r == 0)
		r = FAULT(source_journal_frozen, e);
	if (r == 0)
		r = copier_freeze(&s->copier, e);
	if (r == 0)
		r = FAULT(source_cut, e);
	if (r == 0)
		r = large_list(&s->large, e);
	if (r == 0)
		r = dump_complete(&s->dump, &s->waiter, e);
	if (r == 0)
		r = large_verify(&s->large, e);
	return r < 0 ? r : FAULT(source_dumped, e);
}

void source_undo_dump(void *ctx)
{
	struct source *s = ctx;

	source_stop_sending(s);
	dump_revoke(&s->dump);
	departure_let_go(&s->departure, s->report);
	thread_come_first(0, false);
}

/* --- send ------------------------------------------------------------------------------------- */

/* The lazy pages of one process that the target lacks. */
static int push_rest(struct source *s, uint32_t vpid, struct err *e)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
	int r = images_lazy_pages(WORKPLACE_IMAGES, vpid, &lazy, e);

	return r < 0 ? r : copier_rest(&s->copier, vpid, &lazy, e);
}

static int push_all(struct source *s, struct err *e)
{
	uint32_t *vpids;
	size_t n;
	int r = images_processes(WORKPLACE_IMAGES, &vpids, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = push_rest(s, vpids[i], e);
	free(vpids);
	sender_finish(s->flow.sender);
	return r;
}

/* The flags of memory that CRIU was shown; before the commit. */
static int confirm_view(struct source *s, int r, struct err *e)
{
	/* A page may not be there to be read just because it has been advised away (MADV_GUARD_INSTALL). */
	if (r < 0 && e->code != EFAULT)
		return r;
	s->advised = large_was_advised(&s->large);
	if (!s->advised)
		return r;
	return err_set(e, ERR_LOCAL, EAGAIN, "an application changed what it advises about its memory "
					     "(madvise) at the moment of the freeze");
}

int source_wait_restored(struct source *s, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = source_wait_message(s, MSG_RESTORED, &m, e);

	s->restored = clock_now();
	if (r == 0)
		s->target_address_ns = source_phase_ns(&m.body.phases, "address");
	msg_done(&m);
	return r < 0 ? r : FAULT(source_restored, e);
}

int source_run_send(void *ctx, struct err *e)
{
	struct source *s = ctx;
	int r;

	report_phase(s->report, "send", "images and memory go over, the target restores");
	r = departure_release(&s->departure, e);
	if (r == 0)
		r = FAULT(source_released, e);
	if (r == 0)
		r = large_add(&s->large, WORKPLACE_IMAGES, e);
	if (r == 0)
		r = flow_start_answerer(&s->flow, &s->copier.space, e);
	if (r == 0)
		r = flow_watch(&s->flow, &s->waiter, e);
	if (r < 0)
		return r;
	/* The restore waits for the images, nothing yet for the pages. */
	sender_pause(s->flow.sender, true);
	s->images_at = clock_now();
	r = images_send(&s->flow.control, WORKPLACE_IMAGES, flow_link_rate(&s->flow), e);
	s->images_sent = clock_now();
	if (r == 0)
		r = FAULT(source_images_sent, e);
	sender_pause(s->flow.sender, false);
	if (r == 0)
		r = departure_forward(&s->departure, &s->waiter, &s->flow.control, e);
	if (r == 0)
		r = push_all(s, e);
	/* All of the memory may take long to come, and the container would be in doubt as long. */
	s->commits_early = msg_mode_is_lazy(s->o->mode) && warm_is_long(&s->flow.control);
	if (r == 0 && !s->commits_early)
		r = source_wait_restored(s, e);
	return confirm_view(s, source_explain(s, r, e), e);
}

/* The target has to let go of the address before it comes back here: it closes when it has. */
void source_undo_send(void *ctx)
{
	struct source *s = ctx;
	uint64_t deadline = deadline_in_ms(GIVE_UP_MS);
	struct msg m;

	channel_abort(&s->flow.control, s->why);
	while (s->flow.connected && channel_recv(&s->flow.control, &m, deadline, NULL) == 0)
		msg_done(&m);
	source_watch_nothing(s);
	flow_cut(&s->flow);
	departure_revoke(&s->departure);
}
