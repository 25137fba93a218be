/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "mem/space.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size);
	struct region *v;
	size_t n;

	if (maps_parse(text, &v, &n) == 0) {
		for (size_t i = 0; i < n; i++)
			MUST(v[i].start < v[i].end);
		free(v);
	}
	free(text);
	return 0;
}
