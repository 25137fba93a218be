/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/image_format.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define COMMON_MAGIC 0x54564319u

static int take_u32(struct image_cursor *c, uint32_t *ret)
{
	if (c->left < sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, c->p, sizeof(*ret));
	*ret = le32toh(*ret);
	c->p += sizeof(*ret);
	c->left -= sizeof(*ret);
	return 0;
}

int image_open(const void *data, size_t len, uint32_t magic, struct image_cursor *ret)
{
	uint32_t common, own;

	*ret = (struct image_cursor){data, len};
	if (take_u32(ret, &common) < 0 || take_u32(ret, &own) < 0 || common != COMMON_MAGIC || own != magic)
		return -EBADMSG;
	return 0;
}

int image_message(struct image_cursor *c, uint32_t max, const uint8_t **ret, uint32_t *ret_len)
{
	if (take_u32(c, ret_len) < 0 || *ret_len > max || *ret_len > c->left)
		return -EBADMSG;
	*ret = c->p;
	c->p += *ret_len;
	c->left -= *ret_len;
	return 0;
}

static void put_u32(struct buf *out, uint32_t v)
{
	v = htole32(v);
	buf_put(out, &v, sizeof(v));
}

void image_begin(struct buf *out, uint32_t magic)
{
	put_u32(out, COMMON_MAGIC);
	put_u32(out, magic);
}

void image_put(struct buf *out, const uint8_t *data, size_t len)
{
	put_u32(out, (uint32_t)len);
	buf_put(out, data, len);
}
