/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/thread.h"
#include "mem/keeper.h"
#include "mem/sender.h"
#include "migrate/wait.h"
#include "wire/channel.h"

#include <stdbool.h>

/*
 * The memory that comes to the target: the channels that bring it, whose porters hand it over, and the
 * keeper that gets it. What fails among them ends every wait with the waiter.
 */

struct memory_in;

struct incoming {
	struct memory_in *memory;
	struct channel channel; /* owned: to its porter; without a transport: there is none */
	struct thread_priority priority; /* the porter's */
	bool cut; /* all that was sent of the running container, and taken back, is here */
};

struct memory_in {
	struct keeper *keeper; /* owned */
	struct incoming bulk[SENDER_STREAMS_MAX], urgent;
	unsigned streams;
	bool hurried; /* processes may wait for what comes */
	bool keeper_gone; /* killed when it had done its work */
	struct waiter *waiter; /* borrowed */
};

#define MEMORY_IN_INIT ((struct memory_in){.keeper = NULL})

/* Starts the keeper: the caller has one thread. */
int memory_in_start(struct memory_in *m, const struct keeper_config *c, unsigned streams,
	struct waiter *w, struct err *e);

/* The same for a worker that takes another's place, after the commit. */
int memory_in_join(struct memory_in *m, struct keeper *k, struct waiter *w, struct err *e);

/* An urgent or a bulk channel; takes over @c, also on failure. */
int memory_in_add(struct memory_in *m, struct channel *c, const struct msg_hello *hello, struct err *e);

/* Until all that was copied from the running container is here, and what is stale of it gone. */
int memory_in_wait_cuts(struct memory_in *m, struct err *e);

/* Names to the keeper what the images in @dir say that there is. */
int memory_in_expect(struct memory_in *m, const char *dir, struct err *e);

/* All is restored: pages may be installed; while CRIU wants the processor to end. */
int memory_in_open(struct memory_in *m, struct err *e);

/* The container may run here from now on: processes may wait for what comes. */
int memory_in_own(struct memory_in *m, struct err *e);

/* It does. */
int memory_in_runs(struct memory_in *m, struct err *e);

/* Until everything is installed. -ETIMEDOUT when for @patience_ms nothing has come or been installed; -1: it waits
 * for ever. */
int memory_in_wait_all(struct memory_in *m, int patience_ms, struct err *e);

struct pager_stats memory_in_stats(struct memory_in *m);

/* All is here: what becomes of the channels doesn't matter any more. */
void memory_in_unwatch(struct memory_in *m);

/* Ends the channels and their porters, as often as the link breaks: others may be added. A keeper that is killed from
 * now on ends waiting with ERR_CANCELLED if all is here: nobody has to come again then. */
void memory_in_part(struct memory_in *m);

/* What is waited for is asked for anew, after the last ones to be asked were lost. */
int memory_in_ask_again(struct memory_in *m, struct err *e);

/* The porters end first, then the keeper or not: see keeper_own(). */
void memory_in_done(struct memory_in *m);
