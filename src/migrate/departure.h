/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "check/check.h"
#include "migrate/wait.h"
#include "net/floating.h"
#include "net/hold.h"
#include "net/home.h"
#include "net/sockets.h"
#include "report/report.h"
#include "wire/channel.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The source's half of handing over the container's addresses, be it a floating one of this host or those
 * of a network of its own: what comes for them is held, goes to the target, and comes back to life here
 * if the container does. The target's half: migrate/arrival.h.
 *
 * Without an address, or on a kernel that can't hold packets, all of it does nothing or less.
 */

struct parcel;

struct departure {
	struct floating floating;
	struct home home;
	struct reached reached;
	struct hold *hold; /* owned; NULL: nothing is held */
	struct sockets sockets; /* at the freeze */
	struct waiter *waiter;	 /* borrowed, while packets are forwarded */
	struct channel *control; /* borrowed, likewise */
	struct parcel *parcel;	 /* owned: a HELD that fills */
	int timer;		 /* owned: until the peers have turned to the target */
	uint64_t hold_at, address_at, address_gone, running_at, last_at;
	uint64_t held, forwarded; /* packets, before it ran there and after */
	uint64_t late;		  /* of the latter, after HELD_END */
	bool ended;		  /* HELD_END has been sent */
	struct hold_stats stats;
};

#define DEPARTURE_INIT ((struct departure){.floating = FLOATING_INIT, .home = HOME_INIT, .timer = -1})

int departure_init(struct departure *d, const struct container_facts *f, struct err *e);

/* All that takes long, while the container runs. */
int departure_prepare(struct departure *d, struct report *report, struct err *e);
/* A descriptor that keeps this host from being seen with an address that only VRRP can take away, also
 * without this process; or -1. */
int departure_guarded_fd(const struct departure *d);

/* Just before the freeze: nothing new comes to the container, and it gets a moment to take what
 * waits in its sockets, since CRIU doesn't carry datagrams. */
int departure_hold(struct departure *d, struct waiter *w, struct err *e);

/* Has it an address that moves? */
static inline bool departure_has_address(const struct departure *d)
{
	return d->reached.n_addresses > 0;
}

/* It is dumped: its addresses leave this host, or are not answered for any more. */
int departure_release(struct departure *d, struct err *e);

/* What was held goes to the target, and from now on whatever comes. */
int departure_forward(struct departure *d, struct waiter *w, struct channel *control, struct err *e);

/* It runs there: peers turn to the target as they hear of it. When none comes here any more the
 * target is told, so that it lets go what came to it directly. */
int departure_running(struct departure *d, struct err *e);

/* Until peers that were slow to notice have turned as well: forwards for a moment more. */
int departure_linger(struct departure *d, struct err *e);

/* It has all: VRRP's address is gone from here. @told: DRAINED, which says whether VRRP has seen to it there; NULL: it
 * never came. */
void departure_leave(struct departure *d, const struct msg_drained *told, struct report *report);

/* It is deleted here: so is its own network. */
int departure_finish(struct departure *d, struct err *e);

/* It stays: its addresses come back. */
void departure_revoke(struct departure *d);
/* It runs here again: it gets what was held. Of packets that this has not gone well for, the user is told. */
void departure_let_go(struct departure *d, struct report *report);

void departure_done(struct departure *d);
