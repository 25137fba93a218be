/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Frames: what lies between a stream of bytes and messages. No I/O here.
 *
 * A frame is a header of 8 bytes, big-endian (u32 length of the payload, u16 type, u16 zero), and
 * the payload. How long a payload may be depends on its type; a frame that says more is refused
 * from its header alone, before anything is allocated or read for it.
 */

#define FRAME_HEADER 8
#define FRAME_PAYLOAD_MAX (1u << 20)

/* The numbers are the protocol's (docs/PROTOCOL.md) and never change their meaning. */
enum msg_type {
	MSG_HELLO = 1,
	MSG_OFFER = 2,
	MSG_VERDICTS = 3,
	MSG_PREPARE = 4,
	MSG_PREPARED = 5,
	MSG_IMAGE = 6,
	MSG_IMAGES_END = 7,
	MSG_RESTORED = 8,
	MSG_COMMIT = 9,
	MSG_RUNNING = 10,
	MSG_PROGRESS = 11,
	MSG_DRAINED = 12,
	MSG_BYE = 13,
	MSG_ABORT = 14,
	MSG_FAULT = 20,
	MSG_PAGES = 21,
	MSG_ZEROS = 22,
	MSG_BULK_END = 23,
	MSG_DIRTY = 24,
};

/* One more than the largest number. */
#define MSG_TYPES 25

/* The most bytes that a payload of that type may have; -1 for an unknown type. */
int64_t frame_limit(unsigned type);

/* Writes a header. */
void frame_put(uint8_t ret[static FRAME_HEADER], enum msg_type type, size_t len);

/* Reads a header. -EPROTO for an unknown type or a last field that isn't zero, -EMSGSIZE for more
 * than that type may have. */
int frame_get(const uint8_t header[static FRAME_HEADER], enum msg_type *ret_type, size_t *ret_len);

/*
 * Takes frames out of a stream step by step: ask how many bytes are wanted and where they go, read
 * as many or fewer, say how many came. An error sticks: a stream that broke once has no next frame.
 */
struct frame_parser {
	uint8_t header[FRAME_HEADER];
	enum msg_type type; /* of a whole frame, with len bytes at payload until the next want() */
	size_t len;
	uint8_t *payload; /* owned */
	size_t cap;
	size_t have; /* bytes of this frame, its header included */
	int failed;  /* -errno */
};

#define FRAME_PARSER_INIT ((struct frame_parser){0})

void frame_parser_done(struct frame_parser *p);
#define _cleanup_frame_parser_ __attribute__((cleanup(frame_parser_done)))

/* Bytes still missing of the header or of the payload, whichever is under way, and where to put
 * them. 0 only when the stream has failed: after a whole frame the next one begins. */
size_t frame_parser_want(struct frame_parser *p, void **ret_at);

/* @n bytes (at most as many as were wanted) have been put there. 1: the frame is whole; 0: more is
 * wanted; -errno as frame_get(), or -ENOMEM. */
int frame_parser_got(struct frame_parser *p, size_t n);

/* True between two frames: a stream may end here. */
bool frame_parser_idle(const struct frame_parser *p);
