/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/mm_image.h"

#include "criu/image_format.h"
#include "mm.pb-c.h"

#include <errno.h>
#include <stdlib.h>

#define MM_MAGIC 0x57492820u /* criu/include/magic.h */
#define MESSAGE_MAX (256u << 20)

static int compare_start(const void *key, const void *element)
{
	uint64_t start = *(const uint64_t *)key;
	const struct range *r = element;

	return (start > r->start) - (start < r->start);
}

/* Guard pages have entries of their own, which may begin where a region does, and come last. */
static int lengthen(GwMmEntry *m, const struct range *regions, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < m->n_vmas && found < n; i++) {
		GwVmaEntry *v = m->vmas[i];
		const struct range *r = bsearch(&v->start, regions, n, sizeof(*regions), compare_start);

		if (!r)
			continue;
		if (v->end != r->start + PAGE_BYTES && v->end != r->end)
			return -EBADMSG;
		v->end = r->end;
		found++;
	}
	return found == n ? 0 : -EBADMSG;
}

static int put(const GwMmEntry *m, struct buf *ret)
{
	size_t len = gw_mm_entry__get_packed_size(m);
	uint8_t *data = malloc(len + 1);

	if (!data)
		return -ENOMEM;
	gw_mm_entry__pack(m, data);
	image_begin(ret, MM_MAGIC);
	image_put(ret, data, len);
	free(data);
	return buf_check(ret);
}

int mm_image_lengthen(const void *data, size_t len, const struct range *regions, size_t n, struct buf *ret)
{
	struct image_cursor c;
	const uint8_t *message = NULL;
	uint32_t size = 0;
	GwMmEntry *m;
	int r = image_open(data, len, MM_MAGIC, &c);

	if (r == 0)
		r = image_message(&c, MESSAGE_MAX, &message, &size);
	if (r < 0 || c.left > 0)
		return -EBADMSG;
	m = gw_mm_entry__unpack(NULL, size, message);
	if (!m)
		return -EBADMSG;
	r = lengthen(m, regions, n);
	if (r == 0)
		r = put(m, ret);
	gw_mm_entry__free_unpacked(m, NULL);
	return r;
}
