/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "migrate/wait.h"
#include "net/floating.h"
#include "net/hold.h"
#include "wire/msg.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The target's half of handing over the floating address (the source's: migrate/departure.h): this
 * host has it before CRIU binds sockets to it, answers for it from the commit on, and delivers first
 * what the source has held, then what came here.
 */

#define ARRIVAL_PEERS 64

struct arrival {
	struct floating floating;
	struct reached reached;
	struct hold *hold; /* owned; NULL: nothing is held here */
	struct waiter *waiter; /* borrowed, from the announcement on */
	int injector, timer;   /* owned */
	int event;	       /* owned: settled */
	struct buf kept;       /* owned: what the source has held, until the container runs */
	bool running, settled;
	unsigned announcements;
	uint64_t announced_at;
	uint64_t delivered, overflow;
	uint8_t asked[ARRIVAL_PEERS][16]; /* how to reach them */
	size_t n_asked;
};

#define ARRIVAL_INIT ((struct arrival){.floating = FLOATING_INIT, .injector = -1, .timer = -1, .event = -1})

/* @annotation: the container's, NULL when it has none; @listeners: struct msg_listener, its ports. */
int arrival_init(struct arrival *a, const char *annotation, const struct msg_list *listeners, struct err *e);

/* All that takes long. An error that is returned is worth a word, but no reason to give up. */
int arrival_prepare(struct arrival *a, struct err *e);
/* A descriptor that keeps this host from being seen with the address, also without this process;
 * or -1. */
int arrival_guarded_fd(const struct arrival *a);

/* This host has the address, and nobody is told. */
int arrival_take(struct arrival *a, struct err *e);

/* HELD or HELD_END. */
int arrival_message(struct arrival *a, const struct msg *m, struct err *e);

/* The container is this host's: it answers for the address, and says so at growing intervals as
 * long as @w is waited with. */
int arrival_show(struct arrival *a, struct waiter *w, struct err *e);

/* It runs: it gets what the source has held. */
void arrival_deliver(struct arrival *a);

/* Waits until it has got what came here meanwhile. */
int arrival_settle(struct arrival *a, struct err *e);
/* Waits until all has been announced. */
int arrival_announce(struct arrival *a, struct err *e);

/* As if it had never come. */
void arrival_revoke(struct arrival *a);

void arrival_done(struct arrival *a);
