/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/ranges.h"
#include "mem/codec.h"
#include "mem/space.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Sends memory of a container's processes over one or more streams, each with a thread.
 *
 * A page always takes the same stream (by its 2 MiB block), so that two versions of it arrive in
 * the order in which they were read. Work is queued as sets of ranges and done first in, first
 * out; the caller goes on meanwhile and waits on the sender's event descriptor for the end.
 */

/* Where pages go; the functions are called by the stream's thread alone. */
struct page_sink {
	void *ctx;
	int (*pages)(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages,
		enum codec_encoding encoding, const void *data, size_t len, struct err *e);
	int (*zeros)(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e);
	/* What was sent of these pages before no longer holds. */
	int (*forget)(void *ctx, uint32_t vpid, uint64_t addr, uint32_t pages, struct err *e);
	/* Between what was sent while the processes ran and what is sent of them frozen. */
	int (*cut)(void *ctx, struct err *e);
	/* Waits until the target has done all before it. */
	int (*mark)(void *ctx, struct err *e);
	/* After the last page: the stream ends here. */
	int (*end)(void *ctx, uint64_t pages, uint64_t bytes, struct err *e);
	/* Bytes a second of the link as they are known now, when @known were before; 0: not known. May be NULL. */
	double (*link_rate)(void *ctx, double known);
};

struct sender_stats {
	uint64_t pages, zero_pages; /* sent, all streams */
	uint64_t bytes_in, bytes_out; /* of pages that aren't zero: before and after encoding */
};

#define SENDER_STREAMS_MAX 16

struct sender;

/* One thread for each of the @n sinks (1..SENDER_STREAMS_MAX), which are copied. */
int sender_new(const struct page_sink *sinks, size_t n, struct sender **ret, struct err *e);

/* Stops the threads where they are (a sink must not block for ever) and frees. NULL is fine. */
void sender_free(struct sender *s);

/* Queues pages of a process; @p must stay until sender_free(), @ranges are copied. @live: what
 * can't be read when its turn comes, since it isn't mapped any more, is skipped: what was sent of it
 * before the cut is taken back, and it can be told. */
int sender_push(struct sender *s, const struct process *p, const struct ranges *ranges, bool live);

/* Moves what has been skipped of @vpid to @ret, which must be empty. */
void sender_take_skipped(struct sender *s, uint32_t vpid, struct ranges *ret);

/* Queues what of @ranges will have been skipped by then (and not taken) once more, which now has to succeed. */
int sender_retry(struct sender *s, const struct process *p, const struct ranges *ranges);

/* Queues forgetting what was sent of pages of @vpid; they may be pushed again afterwards. */
int sender_forget(struct sender *s, uint32_t vpid, const struct ranges *ranges);

/* Queue a cut(), or a mark(), on every stream. */
int sender_cut(struct sender *s);
int sender_mark(struct sender *s);

/* Readable when all that was queued has been sent. Owned by the sender. */
int sender_idle_fd(const struct sender *s);

/* No more will be pushed: each stream calls its sink's end() when its queue is empty. */
void sender_finish(struct sender *s);

/* Holds the streams between two chunks, to leave the link to something more urgent. */
void sender_pause(struct sender *s, bool on);

/* All streams together send at most @bytes_per_second of memory from now on; 0 for no limit. */
void sender_limit(struct sender *s, uint64_t bytes_per_second);

/* The streams give way to everything else on the host, such as CRIU and the container; from now on
 * they don't: somebody waits for what they send. */
void sender_hurry(struct sender *s);

/* Readable when every stream has ended or one has failed. Owned by the sender. */
int sender_event_fd(const struct sender *s);

/* 0 while it works or after it all went well; else the first error, negative, copied to @e. */
int sender_result(struct sender *s, struct err *e);

/* True once every stream has ended well. */
bool sender_finished(struct sender *s);

struct sender_stats sender_stats(struct sender *s);
