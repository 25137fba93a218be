/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/keeper.h"
#include "mem/sender.h"
#include "mem/space.h"
#include "wire/channel.h"

/*
 * Where memory meets the wire: the sender's sinks on the source, the threads that take pages on
 * the target, and who answers on the urgent channel.
 */

/* A sink that writes PAGES, ZEROS, DIRTY, CUT and BULK_END to @c, which must outlive it. */
struct page_sink bulk_sink(struct channel *c);

/* Hands what a PAGES, ZEROS or DIRTY says to the keeper. Other messages are the peer's error. */
int bulk_take(struct keeper_line *l, const struct msg *m, struct err *e);

/* --- target: one thread a bulk channel ----------------------------------------------------- */

struct receiver;

/* Takes over @c, also on failure. What arrives goes to @l, which is its alone. The thread
 * gives way to the restore, which all wait for. */
int receiver_start(struct channel *c, struct keeper_line *l, struct receiver **ret, struct err *e);

/* From now on processes may wait for what arrives: it gives way no longer. */
void receiver_hurry(struct receiver *r);

/* Readable when the stream has come to its cut, ended or failed; reading it is the caller's. */
int receiver_event_fd(const struct receiver *r);

/* True once all that was sent of the running container, and taken back, is here. */
bool receiver_is_cut(struct receiver *r);

/* 0 while it works or after BULK_END, else its error. */
int receiver_result(struct receiver *r, struct err *e);

/* True after BULK_END. */
bool receiver_finished(struct receiver *r);

/* Stops the thread, also one that waits in the middle of a message, closes the channel, frees. NULL
 * is fine. */
void receiver_free(struct receiver *r);

/* --- source: a thread that answers faults ahead of everything ------------------------------ */

struct answerer;

/* Takes over @c, also on failure. @space must outlive it. */
int answerer_start(struct channel *c, const struct space *space, struct answerer **ret,
	struct err *e);

/* Readable when it has failed. */
int answerer_event_fd(const struct answerer *a);
int answerer_result(struct answerer *a, struct err *e);
uint64_t answerer_bytes(const struct answerer *a);
void answerer_free(struct answerer *a);
