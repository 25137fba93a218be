/* SPDX-License-Identifier: Apache-2.0 */
/* A packet that a peer says came to the container's address: it goes to a raw socket if it passes, and
 * what it acknowledges is read. */
#include "fuzz.h"

#include "net/inject.h"
#include "net/segment.h"

#include <netinet/in.h>

static void read_segment(const uint8_t *data, size_t size)
{
	struct segment s;

	if (segment_parse(data, size, &s))
		MUST(s.n_sacked <= SEGMENT_SACKS && size >= 40);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct address v4, v6;

	MUST(address_parse("10.10.0.100/24 dev br0", &v4, NULL) == 0);
	MUST(address_parse("fd00::100/64 dev br0", &v6, NULL) == 0);
	if (inject_valid(&v4, data, size))
		MUST(data[0] >> 4 == 4 && data[9] != IPPROTO_ICMP && inject_sender(&v4, data));
	if (inject_valid(&v4, data, size) || inject_valid(&v6, data, size))
		read_segment(data, size);
	if (inject_valid(&v6, data, size))
		MUST(data[0] >> 4 == 6 && inject_sender(&v6, data));
	return 0;
}
