/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "criu/images.h"

/* To what can be read pages can be added, and then it still says what it said. */
static void add_pages(const uint8_t *data, size_t size, const struct ranges *lazy)
{
	struct range v[2] = {{0, PAGE_BYTES}, {1ull << 46, 1ull << 47}};
	struct ranges more = {.v = v, .n = 2}, now = RANGES_INIT;
	struct buf b;

	buf_init(&b, size + (1 << 20));
	MUST(pagemap_image_add(data, size, &more, &b) == 0);
	MUST(pagemap_image_parse(b.data, b.len, &now) == 0);
	for (size_t i = 0; i < lazy->n; i++)
		MUST(ranges_contain(&now, lazy->v[i].start, lazy->v[i].end));
	ranges_done(&now);
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ranges lazy = RANGES_INIT;

	if (pagemap_image_parse(data, size, &lazy) == 0) {
		for (size_t i = 0; i < lazy.n; i++)
			MUST(lazy.v[i].start < lazy.v[i].end);
		add_pages(data, size, &lazy);
	}
	ranges_done(&lazy);
	return 0;
}
