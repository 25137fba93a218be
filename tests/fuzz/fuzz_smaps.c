/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "mem/smaps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ranges plain = RANGES_INIT;
	struct smaps s;

	/* Agreeing with itself takes every flag of every region into the hand. */
	if (smaps_parse(fuzz_string(data, size), &s) == 0)
		smaps_agree(&s, &s);
	if (smaps_plain(&s, 0, &plain) == 0)
		for (size_t i = 0; i < plain.n; i++)
			MUST(plain.v[i].start < plain.v[i].end);
	ranges_done(&plain);
	smaps_done(&s);
	return 0;
}
