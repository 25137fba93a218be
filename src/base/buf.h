/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A bounded writer and a bounded reader for binary formats, big-endian. Errors stick: after the
 * first overrun everything else is a no-op, and one check at the end tells.
 */

struct buf {
	uint8_t *data; /* owned */
	size_t len, cap, max;
	bool failed; /* over max, or no memory */
};

/* @max is the most that it will ever hold. */
static inline void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_done(struct buf *b);
#define _cleanup_buf_ __attribute__((cleanup(buf_done)))

void buf_reset(struct buf *b);
void buf_put(struct buf *b, const void *data, size_t len);
/* Room for @len bytes to be filled by the caller; NULL when failed. */
void *buf_grow(struct buf *b, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
/* Appends formatted text without its terminating zero. */
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *fmt, ...);
/* 0, or -EMSGSIZE / -ENOMEM when something did not fit. */
int buf_check(const struct buf *b);

struct cursor {
	const uint8_t *p; /* borrowed */
	size_t left;
	bool failed;
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
	return (struct cursor){.p = data, .left = len};
}

/* The next @len bytes in place; NULL and failed when there are fewer. */
const void *cursor_take(struct cursor *c, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
/* 0 when nothing failed and nothing is left, else -EBADMSG. */
int cursor_end(const struct cursor *c);

void put_be16(uint8_t p[static 2], uint16_t v);
void put_be32(uint8_t p[static 4], uint32_t v);
void put_be64(uint8_t p[static 8], uint64_t v);
uint16_t get_be16(const uint8_t p[static 2]);
uint32_t get_be32(const uint8_t p[static 4]);
uint64_t get_be64(const uint8_t p[static 8]);
