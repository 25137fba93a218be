/* SPDX-License-Identifier: Apache-2.0 */
/* A frame from a peer. What is accepted encodes to the same bytes again: nothing has two forms. */
#include "fuzz.h"

#include "wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum msg_type type;
	struct buf again;
	struct msg m;
	size_t len;

	if (size < FRAME_HEADER || msg_header(data, &type, &len) < 0 || len != size - FRAME_HEADER)
		return 0;
	if (msg_decode(type, data + FRAME_HEADER, len, &m) < 0)
		return 0;
	buf_init(&again, FRAME_PAYLOAD_MAX + FRAME_HEADER);
	MUST(msg_encode(type, &m.body, &again) == 0);
	MUST(again.len == size && memcmp(again.data, data, size) == 0);
	buf_done(&again);
	msg_done(&m);
	return 0;
}
