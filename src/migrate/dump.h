/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/child.h"
#include "base/err.h"
#include "criu/hook.h"
#include "migrate/wait.h"
#include "oci/runc.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * A dump that is held at the end, with the container frozen, until it is finished or revoked.
 *
 * CRIU calls back at three points. At pre-dump it has not touched anything: godwit freezes the
 * container there, so that starting runc and CRIU costs no downtime and CRIU leaves it frozen
 * whatever happens. At post-dump all images are written; there CRIU waits for an answer for as
 * long as the hand-over takes. Yes at post-dump makes CRIU end the container (or leave it running, as told);
 * no makes it fail and leave everything as it was. After a lazy dump it would then serve the pages
 * itself: it calls at status-ready, where the answer is always no, so that it leaves without ever
 * opening its page server to anyone. If this process dies all answers are no.
 */

struct dump_options {
	const char *images;
	bool lazy;	    /* private memory stays where it is, for godwit to read */
	bool file_locks, tcp_established;
	bool leave_running; /* after dump_finish(), too */
};

struct dump {
	const struct dump_options *o; /* borrowed */
	const struct container *container; /* borrowed */
	struct hooks hooks;
	struct hook_call held; /* post-dump, unanswered */
	struct child runc;
	bool frozen;
	uint64_t freeze_start, frozen_at, dumped_at;
};

#define DUMP_INIT                                                                                  \
	((struct dump){.hooks = HOOKS_INIT, .held = HOOK_CALL_INIT, .runc = CHILD_INIT})

/* Prepares the workplace's configuration of CRIU. workplace_enter() was called. @annotation: as
 * workplace_criu_options() wants it. */
int dump_prepare(struct dump *d, const struct container *c, const char *annotation, struct err *e);

/* Starts CRIU, which waits at pre-dump; the container runs on. */
int dump_start(struct dump *d, const struct dump_options *o, struct waiter *w, struct err *e);

int dump_freeze(struct dump *d, struct err *e);

/* Lets CRIU dump. */
void dump_begin(struct dump *d);

/* Waits for it: its images are complete. */
int dump_complete(struct dump *d, struct waiter *w, struct err *e);

/* There still is a runc that waits for CRIU's end: for who needs it to end well. */
int dump_still_held(struct dump *d, struct err *e);

/* The container has a new owner, or is safely kept: ends it here, or lets it run on, as told. */
int dump_finish(struct dump *d, struct err *e);

/* As if nothing had been: the container runs again. Bears a dump in any state. */
void dump_revoke(struct dump *d);

void dump_done(struct dump *d);
