/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TCP segments (RFC 9293, 3.1) with selective acknowledgements (RFC 2018) and timestamps (RFC 7323). */

#define SEGMENT_SACKS 4
#define SEGMENT_HEADERS_MAX (40 + 20 + 12)

struct segment {
	uint8_t family, from[16], to[16]; /* addresses, of 4 or 16 bytes */
	uint16_t from_port, to_port;
	uint32_t sequence, acknowledged;
	uint16_t window;
	bool acknowledges, resets;
	bool has_time;
	uint32_t time, echo; /* its timestamps */
	struct {
		uint32_t start, end;
	} sacked[SEGMENT_SACKS];
	unsigned n_sacked;
};

/* Reads the headers of an IP packet: false if there is no whole TCP header in it. What inject_valid() is
 * true of. */
bool segment_parse(const void *packet, size_t len, struct segment *ret);

/* The IP packet, of SEGMENT_HEADERS_MAX + @len bytes at most, that acknowledges and carries @data, without
 * selective acknowledgements; IPv4's own checksum is left to the kernel. How long it is. */
size_t segment_build(const struct segment *s, const void *data, size_t len, uint8_t *ret);
