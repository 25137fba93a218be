/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "criu/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ranges lazy = RANGES_INIT;

	if (pagemap_image_parse(data, size, &lazy) == 0)
		for (size_t i = 0; i < lazy.n; i++)
			MUST(lazy.v[i].start < lazy.v[i].end);
	ranges_done(&lazy);
	return 0;
}
