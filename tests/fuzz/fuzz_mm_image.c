/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "criu/mm_image.h"

/* What can be read can be written, and what then can be read again is the same. (Not all can: a tag 0 in two
 * bytes passes protobuf-c, which writes it in one, which doesn't.) */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct range heap = {0x4cc000, 0x4f0000};
	struct buf first, second;

	buf_init(&first, 2 * size + (1 << 20));
	buf_init(&second, 2 * size + (1 << 20));
	if (mm_image_lengthen(data, size, NULL, 0, &first) == 0 &&
		mm_image_lengthen(first.data, first.len, NULL, 0, &second) == 0)
		MUST(first.len == second.len);
	buf_reset(&first);
	mm_image_lengthen(data, size, &heap, 1, &first);
	buf_done(&first);
	buf_done(&second);
	return 0;
}
