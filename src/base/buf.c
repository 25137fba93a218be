/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void put_be16(uint8_t p[static 2], uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void put_be32(uint8_t p[static 4], uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

void put_be64(uint8_t p[static 8], uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}

uint16_t get_be16(const uint8_t p[static 2])
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t get_be32(const uint8_t p[static 4])
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

uint64_t get_be64(const uint8_t p[static 8])
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.max = b->max};
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

static bool reserve(struct buf *b, size_t len)
{
	size_t cap = b->cap ? b->cap : 64;
	uint8_t *data;

	if (b->failed || len > b->max || b->len > b->max - len)
		return false;
	if (b->data && b->cap - b->len >= len)
		return true;
	while (cap - b->len < len)
		cap *= 2;
	if (cap > b->max)
		cap = b->max;
	data = realloc(b->data, cap);
	if (!data)
		return false;
	b->data = data;
	b->cap = cap;
	return true;
}

void *buf_grow(struct buf *b, size_t len)
{
	void *p;

	if (!reserve(b, len)) {
		b->failed = true;
		return NULL;
	}
	p = b->data + b->len;
	b->len += len;
	return p;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
	void *p;

	if (len == 0)
		return;
	p = buf_grow(b, len);
	if (p)
		memcpy(p, data, len);
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
	uint8_t p[2];

	put_be16(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_put_u32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	put_be32(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	uint8_t p[8];

	put_be64(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		b->failed = true;
	else
		buf_put(b, text, (size_t)n);
}

int buf_check(const struct buf *b)
{
	return b->failed ? -EMSGSIZE : 0;
}

const void *cursor_take(struct cursor *c, size_t len)
{
	const uint8_t *p = c->p;

	if (c->failed || c->left < len) {
		c->failed = true;
		return NULL;
	}
	c->p += len;
	c->left -= len;
	return p;
}

uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);

	return p ? *p : 0;
}

uint16_t cursor_u16(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);

	return p ? get_be16(p) : 0;
}

uint32_t cursor_u32(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 4);

	return p ? get_be32(p) : 0;
}

uint64_t cursor_u64(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 8);

	return p ? get_be64(p) : 0;
}

int cursor_end(const struct cursor *c)
{
	return c->failed || c->left ? -EBADMSG : 0;
}
