/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/keeper.h"
#include "mem/sender.h"
#include "mem/space.h"
#include "wire/channel.h"

/*
 * Where memory meets the wire: the sender's sinks on the source, what takes pages on the target, and who
 * answers on the urgent channel.
 */

/* A sink that writes PAGES, ZEROS, DIRTY, CUT and BULK_END to @c, which must outlive it. */
struct page_sink bulk_sink(struct channel *c);

/* Hands what a PAGES, ZEROS or DIRTY says to the keeper. Other messages are the peer's error. */
int bulk_take(struct keeper_line *l, const struct msg *m, struct err *e);

/* The target's end of a bulk channel: what arrives goes to @l, and CUT and BULK_END, when all before them is
 * done, to @worker. Until that hangs up: 0; else its error. */
int receiver_serve(struct channel *c, struct channel *worker, struct keeper_line *l, struct err *e);

/* --- source: a thread that answers faults ahead of everything ------------------------------ */

struct answerer;

/* Takes over @c, also on failure. @space must outlive it. @link_rate: as for codec_expect(), or 0: pages go as
 * they are. */
int answerer_start(struct channel *c, const struct space *space, double link_rate, struct answerer **ret,
	struct err *e);

/* Readable when it has failed. */
int answerer_event_fd(const struct answerer *a);
int answerer_result(struct answerer *a, struct err *e);
uint64_t answerer_bytes(const struct answerer *a);
void answerer_free(struct answerer *a);
