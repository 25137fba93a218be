/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "net/address.h"

#include <stdbool.h>

/*
 * A container's floating address during a move: what has been changed on this host, so that it can
 * be put back. A container without one has an empty one, with which everything here does nothing.
 *
 * An address that a VRRP instance of keepalived owns stays where it is until the container runs
 * elsewhere. Then the instance here withdraws, by which the one there becomes master at once; there it
 * is only preferred, and finds the address in place. So VRRP is no part of the time in which nobody
 * answers, and nothing of it has to be undone when the container stays.
 */

enum floating_change { FLOATING_AS_BEFORE, FLOATING_TAKEN, FLOATING_RELEASED };

struct floating {
	struct address address;
	bool is_set;
	enum floating_change change;
	int announcer; /* owned */
	int watch;     /* owned: of the VRRP instance's state; -1: there is none */
	int lock;      /* owned: on the VRRP instance */
};

#define FLOATING_INIT ((struct floating){.announcer = -1, .watch = -1, .lock = -1})

/* @annotation: the container's, NULL when it has none. */
int floating_init(struct floating *f, const char *annotation, struct err *e);

/* This host has the address from now on, but does not announce it yet. */
int floating_take(struct floating *f, struct err *e);
/* This host no longer has it; or, if it is VRRP's, may be made to give it away. */
int floating_release(struct floating *f, struct err *e);

/* Tells the segment that it is here, once; false when it isn't any more: it may have moved on. */
bool floating_announce(struct floating *f);

/* As before the change; announced, if that means that it is here again. */
void floating_revoke(struct floating *f);

/* --- VRRP's; all of this does nothing for others ---------------------------------------------- */

/* Watches its state, as floating_init() has done: for a process that has inherited @f and no descriptor. */
int floating_watch(struct floating *f, struct err *e);

/* Until floating_done() nobody else on this host moves the address or announces it: what came here is
 * announced for a moment more, which this waits for. */
int floating_lock(struct floating *f, struct err *e);

/* Where the container runs now. */
int floating_prefer(struct floating *f, struct err *e);
/* The same, until it is master. */
int floating_become_master(struct floating *f, struct err *e);
/* It is master here, or there is none. */
bool floating_is_mastered(const struct floating *f);

/* Where it ran: the instance steps back. */
int floating_withdraw(struct floating *f, struct err *e);
/* Until it has: keepalived removes the address, or, if that one doesn't within seconds, we do. */
int floating_leave(const struct address *a, struct err *e);
/* Takes part again, by its own priority. */
int floating_stand_by(struct floating *f, struct err *e);

void floating_done(struct floating *f);
