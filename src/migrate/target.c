/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target side of a migration: the stages at the end of this file, walked in order.
 *
 * The container may run here once COMMIT has come, and not before: the gate stays shut. What fails
 * until then is undone and told by an ABORT. From COMMIT on this host owns the container: whatever
 * becomes of this process or of the link before all memory is here, the keeper (mem/keeper.h) goes on,
 * so that who touches a missing page waits for it and never reads zeros, and the source comes again.
 */
#include "migrate/target_impl.h"

#include "base/clock.h"
#include "base/count.h"
#include "base/fault.h"
#include "base/fd.h"
#include "criu/workplace.h"
#include "migrate/images.h"
#include "migrate/stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t target_physical_bytes(void)
{
	return PAGES_TO_BYTES((uint64_t)sysconf(_SC_PHYS_PAGES));
}

/* --- offer ------------------------------------------------------------------------------------ */

static int run_offer(void *ctx, struct err *e)
{
	struct target *t = ctx;

	return request_hear(&t->request, t->guest, &t->entrance, &t->arrival, e);
}

static void undo_offer(void *ctx)
{
	struct target *t = ctx;

	entrance_close(&t->entrance);
	channel_abort(&t->control, t->why);
}

/* --- prepare ---------------------------------------------------------------------------------- */

static int accept_channel(struct target *t, struct err *e)
{
	struct msg_hello hello = {0};
	struct channel c;
	int r = entrance_next(&t->entrance, &c, &hello, REQUEST_HELLO_MS, e);

	return r < 0 ? r : memory_in_add(&t->memory, &c, &hello, e);
}

static bool is_in_tmp(const char *path)
{
	return strncmp(path, "/tmp/", 5) == 0 || strcmp(path, "/tmp") == 0;
}

/* Does the container come from, or mount, something in /tmp? */
static bool needs_tmp(const struct target *t)
{
	bool r = is_in_tmp(t->request.bundle) || is_in_tmp(t->request.config.rootfs);

	for (size_t i = 0; i < t->request.config.n_bind_sources; i++)
		r |= is_in_tmp(t->request.config.bind_sources[i]);
	return r;
}

static int prepare_arrival(struct target *t, struct err *e)
{
	struct err why = ERR_INIT;
	int r = arrival_prepare(&t->arrival, &why);

	if (r < 0 && address_is_vrrp(&t->arrival.floating.address)) {
		*e = why;
		return r;
	}
	if (r < 0)
		request_log(&t->request, "packets that come meanwhile will be lost: %s", why.text);
	return 0;
}

static int begin_journal(struct target *t, struct err *e)
{
	const struct oci_config *c = &t->request.config;
	char key[FINGERPRINT_TEXT];
	const struct journal_subject subject = {
		.container = t->request.container,
		.peer = t->control.peer,
		.address = c->address,
		.netns = c->netns,
		.network = c->network,
		.key = entrance_peer(&t->entrance, key),
		.token = t->entrance.token,
	};
	int r = journal_begin(&t->journal, t->request.id, false, &subject, e);

	return r < 0 ? r : FAULT(target_journal_prepared, e);
}

/* What a restore needs here: who keeps its memory, a network, and where CRIU works. */
static int prepare_place(struct target *t, struct err *e)
{
	int r = target_start_keeper(t, e);

	if (r == 0)
		r = FAULT(target_keeper_started, e);
	if (r == 0)
		r = arrival_make_network(&t->arrival, e);
	if (r == 0)
		r = prepare_arrival(t, e);
	if (r == 0)
		r = guard_start(&t->guard, &t->journal, NULL, arrival_guarded_fd(&t->arrival), e);
	if (r == 0)
		r = FAULT(target_guarded, e);
	if (r == 0)
		r = workplace_enter(e);
	return r < 0 || needs_tmp(t) ? r : workplace_hide_tmp(e);
}

static int start_restore(struct target *t, const struct msg_bytes *descriptors, struct err *e)
{
	const struct runc_restore o = {
		.id = t->request.container,
		.bundle = t->request.bundle,
		.images = WORKPLACE_IMAGES,
		.work = WORKPLACE_CRIU,
		.programs = WORKPLACE_PROGRAMS,
		.preload = WORKPLACE_PRELOAD,
		.lazy = true,
		.tcp_established = true,
		.file_locks = t->request.flags & OFFER_FILE_LOCKS,
	};
	int r = restore_prepare(&t->restore, t->memory.keeper, t->request.config.criu_config, e);

	if (r == 0)
		r = restore_claim(&t->restore, o.id, e);
	if (r == 0)
		r = restore_start(&t->restore, &o, descriptors, &t->waiter, e);
	return r < 0 ? r : FAULT(target_restore_started, e);
}

/* All of that begins when the source has decided to come. */
static int hear_prepare(struct target *t, struct err *e)
{
	struct msg m;
	int r = target_wait_message(t, &m, deadline_in_ms(REQUEST_DECIDE_MS), e);

	if (r == 0 && m.type != MSG_PREPARE)
		r = err_set(e, ERR_PEER, EPROTO, "%s instead of PREPARE", msg_name(m.type));
	if (r == 0)
		r = images_check_descriptors(&m.body.prepare.descriptors, e);
	if (r == 0)
		r = FAULT(target_prepare_came, e);
	if (r == 0)
		r = begin_journal(t, e);
	if (r == 0)
		r = prepare_place(t, e);
	if (r == 0)
		r = start_restore(t, &m.body.prepare.descriptors, e);
	msg_done(&m);
	return r;
}

static int run_prepare(void *ctx, struct err *e)
{
	struct target *t = ctx;
	int r = hear_prepare(t, e);

	for (unsigned i = 0; r == 0 && i < t->request.streams + 1; i++)
		r = accept_channel(t, e);
	entrance_close(&t->entrance);
	if (r == 0)
		r = FAULT(target_channels_open, e);
	if (r == 0)
		r = target_start_timer(t, e);
	if (r == 0)
		r = target_send_control(t, MSG_PREPARED, NULL, e);
	return r < 0 ? r : FAULT(target_prepared, e);
}

static void undo_prepare(void *ctx)
{
	struct target *t = ctx;

	restore_revoke(&t->restore);
	arrival_revoke(&t->arrival);
	journal_end(&t->journal);
}

/* --- the whole -------------------------------------------------------------------------------- */

static const struct stage stages[] = {
	{"offer", run_offer, undo_offer},
	{"prepare", run_prepare, undo_prepare},
	{"receive", target_run_receive, NULL},
	{"restore", target_run_restore, NULL},
	{"commit", target_run_commit, NULL},
	{"drain", target_run_drain, NULL},
	{"bye", target_run_bye, NULL},
};

static bool is_revocable(const void *ctx)
{
	return !((const struct target *)ctx)->owner;
}

/* Threads first, then what they use. */
void target_done(struct target *t)
{
	memory_in_done(&t->memory);
	cgroup_warm_stop(&t->warmer);
	channel_done(&t->control);
	restore_done(&t->restore);
	entrance_done(&t->entrance);
	fd_close(&t->container_pidfd);
	request_done(&t->request);
	signals_done(&t->signals);
	guard_done(&t->guard);
	fd_close(&t->timer);
	arrival_done(&t->arrival);
	free(t);
}

static int run_all(struct target *t, struct err *e)
{
	int r = signals_watch(&t->signals, &t->waiter, e);

	if (r == 0)
		r = target_watch_control(t, e);
	return r < 0 ? r : stages_walk(stages, COUNT(stages), t, is_revocable, e);
}

int target_run(struct transport *transport, const struct identity *self, const struct guest *guest,
	struct err *e)
{
	struct target *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		transport_free(transport);
		return err_sys(e, ENOMEM, "migration");
	}
	t->why = e;
	t->guest = guest;
	t->entrance = ENTRANCE_INIT;
	t->restore = RESTORE_INIT;
	t->warmer = CGROUP_WARMER_INIT;
	t->guard = GUARD_INIT;
	t->arrival = ARRIVAL_INIT;
	t->signals.fd = t->timer = t->container_pidfd = -1;
	channel_init(&t->control, transport, CHANNEL_CONTROL, false);
	t->request = REQUEST_INIT(&t->control);
	r = entrance_init(&t->entrance, transport, self, e);
	if (r == 0)
		r = run_all(t, e);
	if (r < 0)
		request_log(&t->request, "failed: %s", e->text);
	target_done(t);
	return r;
}
