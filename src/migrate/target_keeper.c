/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's side of a target (mem/keeper.h): what it calls when there is no worker any more, and the new worker
 * that it starts then. All of this runs in processes of their own.
 */
#include "migrate/target_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void alone(void *ctx)
{
	const struct target *t = ctx;

	request_log(&t->request, "its process has ended: the keeper of its memory goes on");
}

static bool is_owner(const struct target *t)
{
	struct journal_entry j;

	return journal_find(t->request.id, false, &j) == 0 && strcmp(j.step, "owner") == 0;
}

static bool is_running(const struct target *t)
{
	struct container c;

	return runc_state(t->request.container, &c, NULL) == 0 && c.pid > 0;
}

/* A source that asks is told that nothing is needed any more. Of a container that may never have run, and is
 * not there, nobody may say that: its source's copy would go. */
static void over(void *ctx, bool ran)
{
	struct target *t = ctx;

	if (!is_owner(t) || !(ran || is_running(t)))
		return;
	runc_forget_restore(t->request.container);
	journal_step(&t->journal, "drained", NULL);
}

/* Then it is the source's: who clears this entry away says so. */
static void never(void *ctx)
{
	struct target *t = ctx;

	if (is_owner(t))
		journal_step(&t->journal, "prepared", NULL);
}

static void lost(void *ctx)
{
	const struct target *t = ctx;

	request_log(&t->request,
		"its keeper was killed: processes that touch memory that is still on the source wait for ever");
}

static void complain(void *ctx, const struct err *e)
{
	const struct target *t = ctx;

	request_log(&t->request, "%s", e->text);
}

/* --- a new worker ----------------------------------------------------------------------------- */

/* What a copy of this has of descriptors, threads and connections was its process's. */
static void shed(struct target *t)
{
	unlink(t->entrance.door.path);
	t->entrance.door = DOOR_INIT;
	t->entrance.n_holds = 0;
	t->control.transport = NULL;
	t->waiter = WAITER_INIT;
	t->signals = (struct signals){.fd = -1};
	arrival_renew(&t->arrival);
}

/* In a new process, which the keeper has forked from a copy of this one that it got when it started:
 * the source comes again to this one. */
static int replace(void *ctx, struct keeper *k)
{
	struct target *t = ctx;
	struct err e = ERR_INIT;
	int r;

	shed(t);
	t->owner = t->signals.ignore = true;
	t->journal.pid = keeper_pid(k);
	r = memory_in_join(&t->memory, k, &t->waiter, &e);
	if (r == 0)
		r = signals_watch(&t->signals, &t->waiter, &e);
	if (r == 0)
		r = target_start_timer(t, &e);
	if (r == 0)
		r = arrival_go_on(&t->arrival, &t->waiter, &e);
	if (r == 0)
		target_expect_breaks(t);
	/* The keeper knows whether there is anything to wait for, and then starts another one. */
	if (r == 0 && t->container_pidfd < 0)
		r = err_set(&e, ERR_LOCAL, ESRCH, "the container is not to be found");
	if (r == 0)
		r = memory_in_runs(&t->memory, &e);
	if (r == 0)
		runc_forget_restore(t->request.container);
	if (r == 0)
		r = target_drain_again(t, err_set(&e, ERR_PEER, ECONNRESET, "its process was killed"), &e);
	if (r == 0)
		r = target_run_bye(t, &e);
	if (r < 0)
		request_log(&t->request, "failed: %s", e.text);
	target_done(t);
	return r < 0;
}

/* --- the keeper ------------------------------------------------------------------------------- */

int target_start_keeper(struct target *t, struct err *e)
{
	struct keeper_config c = {
		.max_bytes = target_physical_bytes(),
		.alone = alone,
		.replace = replace,
		.over = over,
		.never = never,
		.lost = lost,
		.complain = complain,
		.ctx = t,
	};

	return memory_in_start(&t->memory, &c, t->request.streams, &t->waiter, e);
}
