/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

/*
 * CRIU's image files: two numbers that say what it is, then protobuf messages, each after its length
 * in four bytes, all little-endian (criu/include/magic.h, criu/protobuf.c).
 */

struct image_cursor {
	const uint8_t *p; /* borrowed */
	size_t left;
};

/* Sets *@ret to the first message of an image of kind @magic. 0, -EBADMSG. */
int image_open(const void *data, size_t len, uint32_t magic, struct image_cursor *ret);

/* The next message, in place, of at most @max bytes. 0, -EBADMSG, also at the end. */
int image_message(struct image_cursor *c, uint32_t max, const uint8_t **ret, uint32_t *ret_len);

/* What an image of that kind begins with. */
void image_begin(struct buf *out, uint32_t magic);

/* Appends a message. */
void image_put(struct buf *out, const uint8_t *data, size_t len);
