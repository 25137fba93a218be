/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "check/check.h"
#include "migrate/copier.h"
#include "migrate/departure.h"
#include "migrate/dump.h"
#include "migrate/flow.h"
#include "migrate/guard.h"
#include "migrate/journal.h"
#include "migrate/large.h"
#include "migrate/resume.h"
#include "migrate/rounds.h"
#include "migrate/signals.h"
#include "migrate/source.h"
#include "migrate/wait.h"
#include "migrate/warm.h"
#include "oci/cgroup_rhythm.h"

/* What the files of the source side share. Its stages are listed in source.c; functions that run or undo one
 * get a struct source. */

enum owner { OWNER_HERE, OWNER_UNKNOWN, OWNER_THERE };

struct source {
	const struct source_options *o;
	struct report *report;
	struct err *why; /* what went wrong, for the stages' undo */

	struct host_facts host;
	struct container_facts facts;
	struct departure departure;

	struct identity identity;
	struct peers peers;
	struct flow flow;
	struct warmth warmth;
	uint8_t id[MSG_ID_LEN], token[MSG_ID_LEN];

	struct waiter waiter;
	struct signals signals;
	struct journal journal;
	struct guard guard;
	struct dump_options dump_options;
	struct dump dump;
	struct cgroup_rhythm rhythm;
	struct large large;
	bool looks_itself; /* CRIU, at all memory: it is shown nothing that could be out of date */
	bool advised;	   /* what it was shown was out of date */
	struct copier copier;
	struct plan plan; /* of the copy */
	bool commits_early;
	enum owner owner;
	struct resume resume;
	bool drained_there; /* and nobody there says so again */
	bool parted;	    /* the good-byes have been said */

	uint64_t started, copy_start, copy_end, images_at, images_sent, restored, running, drained;
	struct msg result; /* DRAINED, owned; none if the link was lost before it came */
	uint64_t target_address_ns, target_announced_ns;
	uint64_t wire_bytes;
};

/* --- source_link.c: the target, heard and told ------------------------------------------------- */

/* How far it is, to the report. */
void source_show_progress(void *ctx);

int source_send_control(struct source *s, enum msg_type type, const void *body, struct err *e);

/* Waits for one type of message; whatever else is watched ends it, too. *@ret is to be msg_done(). */
int source_wait_message(struct source *s, enum msg_type type, struct msg *ret, struct err *e);

/* The same through a silence of so long. */
int source_outwait(struct source *s, enum msg_type type, uint64_t silence_ms, struct msg *ret, struct err *e);

/* A further connection that broke, with @r and @e, is often the sign of something that the target tells on the
 * control channel: then that is the error. Returns the error, or @r. */
int source_explain(struct source *s, int r, struct err *e);

/* From now on the waiter ends when the target says something that isn't expected. */
int source_watch_control(struct source *s, struct err *e);
void source_watch_nothing(struct source *s);

/* Is that what @e says, and not something that the target has told? */
bool source_lost_link(const struct source *s, const struct err *e);

/* After the commit, until the target is reached again. @e comes in with what broke. A signal ends the attempts
 * and nothing else: the container is as safe as it was. */
int source_reconnect(struct source *s, enum msg_state *ret, struct err *e);

/* How long @name took there; 0: it doesn't say. */
uint64_t source_phase_ns(const struct msg_phases *m, const char *name);

/* --- source_freeze.c: from the freeze until it is restored there -------------------------------- */

/* The moment comes near: the target is told, and the connection warmed up. */
int source_get_ready(void *ctx, struct err *e);

int source_run_dump(void *ctx, struct err *e);
void source_undo_dump(void *ctx);

int source_run_send(void *ctx, struct err *e);
void source_undo_send(void *ctx);

/* Until the target has restored it. */
int source_wait_restored(struct source *s, struct err *e);

/* No thread reads the container's memory any more. */
void source_stop_sending(struct source *s);

/* --- source_commit.c: from the commit on --------------------------------------------------------- */

int source_run_commit(void *ctx, struct err *e);
int source_run_drain(void *ctx, struct err *e);
int source_run_finish(void *ctx, struct err *e);

/* --- source_summary.c ---------------------------------------------------------------------------- */

/* What the target has told at the end; NULL: the link was lost before that. */
const struct msg_drained *source_result(const struct source *s);

/* What it has come to, to the report. */
void source_summarize(struct source *s);
