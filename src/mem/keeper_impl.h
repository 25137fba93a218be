/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "mem/keeper.h"

/* What worker and keeper say to each other: whole messages over socketpairs of type SOCK_SEQPACKET.
 * Every request gets a reply, in order. The keeper trusts none of what a request says. */

#define KEEPER_SLOTS 4 /* a line: so many requests may be under way */
#define KEEPER_LINES (2 + KEEPER_STREAMS)
#define KEEPER_ROOM_PAGES (KEEPER_ROOM / PAGE_BYTES)
#define KEEPER_LINE_BYTES ((size_t)KEEPER_SLOTS * KEEPER_ROOM)

enum keeper_line_index {
	KEEPER_CONTROL, /* the main thread's */
	KEEPER_URGENT,
	KEEPER_BULK, /* and those that follow */
};

enum keeper_verb {
	KEEPER_PUT = 1,
	KEEPER_PUT_ZEROS,
	KEEPER_FORGET,
	KEEPER_MARK, /* the reply has @vpid */
	/* On the control line alone: */
	KEEPER_EXPECT_SOME, /* the slot has @pages ranges of @vpid */
	KEEPER_EXPECT,	    /* these were all */
	KEEPER_DROP_OTHERS,
	KEEPER_ADD_VIEW, /* with a userfaultfd */
	KEEPER_OPEN,
	KEEPER_STATS,
	KEEPER_GIVE_WAY, /* @pages: on or off */
	KEEPER_OWN,
	KEEPER_RUNS,
	KEEPER_LACKING, /* of the first process after @vpid, above @addr, into the slot */
	KEEPER_ASK_AGAIN,
};

struct keeper_request {
	uint32_t verb;
	uint32_t slot;
	uint32_t vpid;
	uint32_t pages;
	uint64_t addr;
};

struct keeper_reply {
	int64_t result; /* 0 or -errno */
	struct pager_stats stats; /* of KEEPER_STATS, and with -ENOSPC */
	uint32_t vpid, ranges;	  /* of KEEPER_LACKING: 0: there is no such process; of KEEPER_MARK */
};

/* Unasked for, over a socketpair of their own, as are wishes. */
enum keeper_event_kind {
	KEEPER_IS_UP = 1, /* @number: its pid */
	KEEPER_IS_DONE,
	KEEPER_HAS_FAILED, /* @number: an errno */
};

struct keeper_event {
	uint32_t kind;
	uint32_t number;
	char text[248];
};

/* All that joins a worker and the keeper. */
struct keeper_link {
	int lines[KEEPER_LINES][2], events[2], wishes[2]; /* owned; [0] is the worker's, [1] the keeper's */
	int rooms[KEEPER_LINES]; /* owned memfds, the worker's: each line's slots */
	uint8_t *slots; /* owned: shared by both, KEEPER_SLOTS of KEEPER_ROOM for each line */
};

int keeper_link_open(struct keeper_link *l);
/* Closes one side, or what is left of it. */
void keeper_link_close(struct keeper_link *l, int side);
void keeper_link_done(struct keeper_link *l);

static inline uint8_t *keeper_slot(const struct keeper_link *l, size_t line, uint32_t slot)
{
	return l->slots + line * KEEPER_LINE_BYTES + (size_t)slot * KEEPER_ROOM;
}

/* The worker's end of a link whose other end the keeper has already; takes over @l, also on failure. */
int keeper_join(struct keeper_link *l, struct keeper **ret, struct err *e);

/* The keeper's process, to its end. */
__attribute__((noreturn)) void keeper_main(const struct keeper_config *c, struct keeper_link *l);
