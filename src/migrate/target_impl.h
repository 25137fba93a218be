/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "migrate/arrival.h"
#include "migrate/entrance.h"
#include "migrate/guard.h"
#include "migrate/journal.h"
#include "migrate/memory_in.h"
#include "migrate/request.h"
#include "migrate/restore.h"
#include "migrate/signals.h"
#include "migrate/target.h"
#include "migrate/wait.h"
#include "oci/cgroup_warm.h"

/* What the files of the target side share. Its stages are listed in target.c; functions that run or undo one get a
 * struct target. */

struct target {
	struct err *why; /* what went wrong, for the stages' undo */
	const struct guest *guest;
	struct channel control;

	struct request request;
	struct entrance entrance;
	struct journal journal;
	struct guard guard;
	struct waiter waiter;
	struct signals signals;
	int timer;
	struct arrival arrival;
	struct restore restore;
	struct cgroup_warmer warmer;
	struct memory_in memory;
	int container_pidfd; /* owned */
	bool committed; /* COMMIT has come */
	bool owner;
	bool over; /* the source knows that nothing is needed any more */
	uint64_t images_from, images_to, address_ns;
};

/* Ends all that is left, and frees @t. */
void target_done(struct target *t);

/* This host's memory: more than any container has. */
uint64_t target_physical_bytes(void);

/* --- target_link.c: the source, heard and told -------------------------------------------------- */

int target_send_control(struct target *t, enum msg_type type, const void *body, struct err *e);

/* From now on the source is told twice a second that this side lives, and how far it is. */
int target_start_timer(struct target *t, struct err *e);

/* The same for a waiter to which what becomes of the link is no reason to end. */
int target_on_timer_alone(void *ctx, struct err *e);

/* From now on the waiter ends when the source says something that isn't expected. */
int target_watch_control(struct target *t, struct err *e);
/* And with the timer. */
int target_watch_source(struct target *t, struct err *e);

/* Until the source says something: 0, -ETIMEDOUT (without an error set), or another error. */
int target_wait_input(struct target *t, uint64_t deadline, struct err *e);

/* Takes one message of the source; packets and what is only to be known are dealt with here, and leave *@ret
 * empty. */
int target_take_message(struct target *t, struct msg *ret, struct err *e);

/* The next one that isn't empty. *@ret is to be msg_done(). */
int target_wait_message(struct target *t, struct msg *ret, uint64_t deadline, struct err *e);
int target_expect_message(struct target *t, enum msg_type type, uint64_t deadline, struct err *e);

/* --- target_keeper.c: the process that keeps its memory ----------------------------------------- */

int target_start_keeper(struct target *t, struct err *e);

/* --- target_restore.c: from the images to the gate ---------------------------------------------- */

int target_run_receive(void *ctx, struct err *e);
int target_run_restore(void *ctx, struct err *e);

/* A message that says how long each thing took here. */
int target_send_phases(struct target *t, enum msg_type type, struct err *e);

/* --- target_commit.c: from the commit on -------------------------------------------------------- */

int target_run_commit(void *ctx, struct err *e);
int target_run_drain(void *ctx, struct err *e);
int target_run_bye(void *ctx, struct err *e);

/* Makes ready for a source that is lost and comes again. */
void target_expect_breaks(struct target *t);

/* A drain that ended with @r and @e: if the link broke, once more whenever the source has come again. */
int target_drain_again(struct target *t, int r, struct err *e);
