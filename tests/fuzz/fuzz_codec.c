/* SPDX-License-Identifier: Apache-2.0 */
/* What a peer calls compressed pages: the first two bytes say how many, and how encoded. */
#include "fuzz.h"

#include "base/ranges.h"
#include "mem/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t room[PAGES_TO_BYTES(CODEC_CHUNK_PAGES)];
	size_t pages;

	if (size < 2)
		return 0;
	pages = 1 + data[0] % CODEC_CHUNK_PAGES;
	codec_decode(data[1] % 3, data + 2, size - 2, room, PAGES_TO_BYTES(pages));
	return 0;
}
