/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "migrate/wait.h"
#include "net/floating.h"
#include "net/hold.h"
#include "net/home.h"
#include "net/resend.h"
#include "oci/config.h"
#include "wire/msg.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The target's half of handing over the container's addresses (the source's: migrate/departure.h): this
 * host, or the container's own network that is made here, has them before CRIU binds sockets to them,
 * answers for them from the commit on, and delivers first what the source has held, then what came here.
 */

#define ARRIVAL_PEERS 64

struct arrival {
	struct floating floating;
	struct home home;
	struct reached reached;
	struct hold *hold; /* owned; NULL: nothing is held here */
	struct waiter *waiter; /* borrowed, once the addresses are here */
	int injectors[2], timer; /* owned; for IPv4, for IPv6 */
	int event;	       /* owned: HELD_END came */
	struct buf kept;       /* owned: what the source has held, until the container runs */
	struct resend *resend; /* owned, until it runs; NULL: what peers lack is left to the kernel */
	bool running, held_end, settled, shown;
	unsigned announcements;
	uint64_t announced_at;
	uint64_t delivered, overflow;
	struct arrival_peer {
		uint8_t family, address[16];
	} asked[ARRIVAL_PEERS]; /* how to reach them */
	size_t n_asked;
};

#define ARRIVAL_INIT \
	((struct arrival){.floating = FLOATING_INIT, .home = HOME_INIT, .injectors = {-1, -1}, .timer = -1, .event = -1})

/* @listeners: struct msg_listener, the container's ports. */
int arrival_init(struct arrival *a, const struct oci_config *c, const struct msg_list *listeners,
	struct err *e);

/* The network of its own, if it has one, comes into being. */
int arrival_make_network(struct arrival *a, struct err *e);

/* All that takes long. An error that is returned is worth a word, but no reason to give up, unless VRRP
 * owns the address: two hosts have it then for a while, of which one must be unseen. */
int arrival_prepare(struct arrival *a, struct err *e);
/* A descriptor that keeps this host from being seen with the address, also without this process;
 * or -1. */
int arrival_guarded_fd(const struct arrival *a);

/* The addresses are here, and nobody is told. From now on a wait with @w fails if keepalived makes this
 * host the owner of one although the source has not given it away. */
int arrival_take(struct arrival *a, struct waiter *w, struct err *e);

/* The container is restored and doesn't run yet, with these processes: what its connections have sent. */
void arrival_look(struct arrival *a, const pid_t *processes, size_t n);

/* HELD or HELD_END. */
int arrival_message(struct arrival *a, const struct msg *m, struct err *e);

/* The container is this host's: its addresses are answered for, and that is said at growing intervals as
 * long as there are waits. */
int arrival_show(struct arrival *a, struct err *e);

/* It runs: it gets what the source has held, and its peers what they lack. */
void arrival_deliver(struct arrival *a);

/* Waits until it has got what the source has held, and what came here meanwhile. */
int arrival_settle(struct arrival *a, struct err *e);
/* What of that was held. */
struct hold_stats arrival_stats(const struct arrival *a);
/* Waits until the VRRP instance that owns the address is master here: 1, or 0 if it doesn't get so. */
int arrival_take_over(struct arrival *a, struct err *e);
/* Waits until all has been announced. */
int arrival_announce(struct arrival *a, struct err *e);

/* A copy in another process, made before arrival_prepare(), without what was that process's. */
void arrival_renew(struct arrival *a);
/* There, in place of it after it was shown: what still comes is delivered. */
int arrival_go_on(struct arrival *a, struct waiter *w, struct err *e);

/* As if it had never come. */
void arrival_revoke(struct arrival *a);

void arrival_done(struct arrival *a);
