/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/thread.h"
#include "mem/sender.h"
#include "mem/space.h"
#include "migrate/bulk.h"
#include "migrate/link.h"
#include "migrate/wait.h"
#include "wire/channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The source's connections to its target and the threads that use them. All of it can be cut off and
 * made anew, as often as the link breaks.
 */

#define FLOW_CONNECT_MS 10000

struct flow {
	struct link link;
	struct channel control;
	bool connected; /* control is open */
	struct channel bulk[SENDER_STREAMS_MAX];
	struct thread_priority porters[SENDER_STREAMS_MAX]; /* of those */
	size_t n_bulk;
	struct channel urgent; /* until the answerer has it */
	struct sender *sender;
	struct answerer *answerer;
	uint64_t bytes, pages; /* written, and sent, by what has been cut off */
};

#define FLOW_INIT ((struct flow){0})

/* @token: zeros for a connection that belongs to nothing yet. */
int flow_open_control(struct flow *f, const uint8_t token[static MSG_ID_LEN], struct err *e);
/* The urgent channel and @streams bulk channels. */
int flow_open_others(struct flow *f, const uint8_t token[static MSG_ID_LEN], unsigned streams,
	struct err *e);

/* A thread a bulk channel; one that answers the faults of @space, which must stay. */
int flow_start_sender(struct flow *f, struct err *e);
int flow_start_answerer(struct flow *f, const struct space *space, struct err *e);

/* Somebody waits for what is sent: it gives way to nobody any more. */
void flow_hurry(struct flow *f);

/* The sender reads the processes' memory: it stops before they run, also if it waits for a silent peer. The
 * bulk channels are of no use after that. */
void flow_stop_sender(struct flow *f);

/* While something is waited for, a thread that fails ends the wait. */
int flow_watch(struct flow *f, struct waiter *w, struct err *e);
void flow_unwatch(struct flow *f, struct waiter *w);

/* Bytes written to the target, and pages sent, from the beginning on. */
uint64_t flow_bytes(const struct flow *f);
uint64_t flow_pages(const struct flow *f);

/* Bytes per second that the link moves, by what went over the bulk channels, or else the control channel; 0:
 * neither had much to send. */
double flow_link_rate(const struct flow *f);

/* Over a long link, what the bulk channels have in sockets and routers is ahead of what a container waits for on
 * the others: from now on they take less than the link moves, and no more than @limit (as for sender_limit()). */
void flow_leave_room(struct flow *f, uint64_t limit);

/* Ends threads and connections; the link stays. */
void flow_cut(struct flow *f);

void flow_done(struct flow *f);
