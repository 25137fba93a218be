/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/ranges.h"
#include "mem/pager.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The keeper: a process of its own on the target that alone has the pager, the userfaultfds and the
 * fault server. It speaks to no network and parses nothing of a peer; who does, the worker, tells it
 * what has arrived, and may die: from keeper_own() on the keeper goes on without it, answers what it
 * can, and lets who touches a missing page wait, until every page is installed or every process that
 * lacks one has ended.
 *
 * Beside it stands its anchor, a process that does nothing but share its table of descriptors: should
 * the keeper be killed, they stay open there, and a missing page still isn't zero.
 *
 * The worker's end is in lines: one thread uses one line, or one process that the worker lends it to.
 * Contents go through memory that both share, in slots: a line has a few, so that one is filled while
 * another is dealt with.
 */

#define KEEPER_STREAMS 16 /* lines for bulk */
#define KEEPER_ROOM (256u << 10)

struct keeper;
struct keeper_line;

/* The functions may be NULL; replace() is called in a new process, lost() in the anchor, the others in
 * the keeper. */
struct keeper_config {
	uint64_t max_bytes; /* of the store */
	/* No worker is left, and it goes on. */
	void (*alone)(void *ctx);
	/* The worker in place of one that has died. Returns its exit code. */
	int (*replace)(void *ctx, struct keeper *k);
	/* The container needs no keeper any more, after keeper_own(): it has everything, or has ended. @ran:
	 * keeper_runs() said that it did run; without, its worker died at the gate. */
	void (*over)(void *ctx, bool ran);
	/* No worker is left, keeper_own() has not been called and won't be: it has never run. */
	void (*never)(void *ctx);
	/* The keeper was killed: who waits does so for ever. */
	void (*lost)(void *ctx);
	/* An error that it bears. */
	void (*complain)(void *ctx, const struct err *e);
	void *ctx;
};

/* Starts the keeper; the caller has one thread. What @c points to is the keeper's by a copy. */
int keeper_start(const struct keeper_config *c, struct keeper **ret, struct err *e);

/* The worker's end. Before keeper_own() the keeper ends by it. NULL is fine. */
void keeper_free(struct keeper *k);

pid_t keeper_pid(const struct keeper *k);

/* --- the main thread's ----------------------------------------------------------------------- */

/* As the pager's functions of the same names; -EPIPE when the keeper has died. */
int keeper_expect(struct keeper *k, uint32_t vpid, const struct ranges *lazy);
int keeper_drop_others(struct keeper *k);
int keeper_add_view(struct keeper *k, uint32_t vpid, int uffd, struct err *e);
int keeper_open(struct keeper *k);
int keeper_stats(struct keeper *k, struct pager_stats *ret);

/* As pager_lacking(), and pager_wishes(), which come as wishes. */
int keeper_lacking(struct keeper *k, uint32_t after, uint32_t *ret_vpid, struct ranges *ret);
int keeper_ask_again(struct keeper *k);

/* It gives way to other processes on this host, as long as nothing runs that could fault. */
int keeper_give_way(struct keeper *k, bool on);

/* The container may run on this host from now on: the keeper doesn't end with the worker. */
int keeper_own(struct keeper *k);

/* It runs: if it ends, it has ended by itself. */
int keeper_runs(struct keeper *k);

/* Readable when keeper_event() has something to say. */
int keeper_event_fd(const struct keeper *k);

/* 1: every page is installed; 0: nothing; negative: it has failed or was killed. */
int keeper_event(struct keeper *k, struct err *e);

/* Says of what an error @r of these functions came: -EPIPE is the keeper's end. Returns -errno. */
int keeper_error(int r, const char *what, struct err *e);

/* Everything is installed, as far as keeper_event() has been told. */
bool keeper_done(const struct keeper *k);

/* --- one thread's each ----------------------------------------------------------------------- */

/* What is asked for: the wishes, and the line for the answers to them. */
int keeper_wish_fd(const struct keeper *k);
/* 1 and a wish; 0: none; -errno. Doesn't wait. */
int keeper_next_wish(int wish_fd, struct pager_wish *ret);
struct keeper_line *keeper_urgent_line(struct keeper *k);
struct keeper_line *keeper_stream_line(struct keeper *k, unsigned stream);

/* *ret has room for KEEPER_ROOM bytes, to be given to keeper_put() as the next thing on this line. */
int keeper_room(struct keeper_line *l, void **ret);

/* As pager_put() and pager_forget(), but only handed over: an error comes with one of the next calls.
 * @room: as keeper_room() gave it, or NULL for zero pages. */
int keeper_put(struct keeper_line *l, uint32_t vpid, uint64_t addr, uint32_t pages, const void *room);
int keeper_forget(struct keeper_line *l, uint32_t vpid, uint64_t addr, uint32_t pages);

/* Until all of that has been done. */
int keeper_flush(struct keeper_line *l);

/* The same as keeper_error(), of what a line was handed. */
int keeper_line_error(const struct keeper_line *l, int r, struct err *e);

/* What another process needs to use the line in our place: @ret stay ours. It gets at nothing else. */
void keeper_line_lend(const struct keeper_line *l, int ret[2]);

/* That process's end: takes both, also on failure. 0 or -errno. */
int keeper_line_borrow(int fds[2], struct keeper_line **ret);
void keeper_line_free(struct keeper_line *l);

/* The line is ours again, or another's: whoever had borrowed it has ended. */
void keeper_renew(struct keeper_line *l);
