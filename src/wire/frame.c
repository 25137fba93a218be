/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/frame.h"

#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>

#define SMALL (64 * 1024)
#define DATA (256 * 1024)

/* 0 is a message without fields; what isn't named here is no type at all. */
static const struct {
	bool known;
	uint32_t max;
} limits[MSG_TYPES] = {
	[MSG_HELLO] = {true, SMALL},
	[MSG_OFFER] = {true, FRAME_PAYLOAD_MAX},
	[MSG_VERDICTS] = {true, 2 * SMALL},
	[MSG_PREPARE] = {true, 0},
	[MSG_PREPARED] = {true, SMALL},
	[MSG_IMAGE] = {true, DATA + 512}, /* the file's name comes with the data */
	[MSG_IMAGES_END] = {true, SMALL},
	[MSG_RESTORED] = {true, SMALL},
	[MSG_COMMIT] = {true, 0},
	[MSG_RUNNING] = {true, SMALL},
	[MSG_PROGRESS] = {true, SMALL},
	[MSG_DRAINED] = {true, SMALL},
	[MSG_BYE] = {true, 0},
	[MSG_ABORT] = {true, SMALL},
	[MSG_FAULT] = {true, SMALL},
	[MSG_PAGES] = {true, DATA + 64},
	[MSG_ZEROS] = {true, SMALL},
	[MSG_BULK_END] = {true, SMALL},
	[MSG_DIRTY] = {true, SMALL},
};

int64_t frame_limit(unsigned type)
{
	return type < MSG_TYPES && limits[type].known ? (int64_t)limits[type].max : -1;
}

void frame_put(uint8_t ret[static FRAME_HEADER], enum msg_type type, size_t len)
{
	put_be32(ret, (uint32_t)len);
	put_be16(ret + 4, (uint16_t)type);
	put_be16(ret + 6, 0);
}

int frame_get(const uint8_t header[static FRAME_HEADER], enum msg_type *ret_type, size_t *ret_len)
{
	unsigned type = get_be16(header + 4);
	int64_t limit = frame_limit(type);
	size_t len = get_be32(header);

	if (limit < 0 || get_be16(header + 6) != 0)
		return -EPROTO;
	if (len > (size_t)limit)
		return -EMSGSIZE;
	*ret_type = type;
	*ret_len = len;
	return 0;
}

void frame_parser_done(struct frame_parser *p)
{
	free(p->payload);
	*p = FRAME_PARSER_INIT;
}

static bool is_whole(const struct frame_parser *p)
{
	return p->have >= FRAME_HEADER && p->have == FRAME_HEADER + p->len;
}

bool frame_parser_idle(const struct frame_parser *p)
{
	return p->have == 0 || is_whole(p);
}

size_t frame_parser_want(struct frame_parser *p, void **ret_at)
{
	*ret_at = NULL;
	if (p->failed < 0)
		return 0;
	if (is_whole(p))
		p->have = 0;
	if (p->have < FRAME_HEADER) {
		*ret_at = p->header + p->have;
		return FRAME_HEADER - p->have;
	}
	*ret_at = p->payload + (p->have - FRAME_HEADER);
	return FRAME_HEADER + p->len - p->have;
}

/* The header is there: room for what it announces, which is within its type's limit. */
static int begin_payload(struct frame_parser *p)
{
	int r = frame_get(p->header, &p->type, &p->len);

	if (r < 0 || p->len <= p->cap)
		return r;
	free(p->payload);
	p->payload = malloc(p->len);
	p->cap = p->payload ? p->len : 0;
	return p->payload ? 0 : -ENOMEM;
}

int frame_parser_got(struct frame_parser *p, size_t n)
{
	if (p->failed < 0)
		return p->failed;
	if (n == 0)
		return 0;
	p->have += n;
	if (p->have == FRAME_HEADER)
		p->failed = begin_payload(p);
	if (p->failed < 0)
		return p->failed;
	return is_whole(p) ? 1 : 0;
}
