/* SPDX-License-Identifier: Apache-2.0 */
#include "net/segment.h"

#include "base/buf.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define TIMES_BYTES TCPOLEN_TSTAMP_APPA
#define HOPS 64

static size_t address_bytes(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

static void parse_sacks(struct segment *s, struct cursor value)
{
	while (value.left >= 8 && s->n_sacked < SEGMENT_SACKS) {
		s->sacked[s->n_sacked].start = cursor_u32(&value);
		s->sacked[s->n_sacked++].end = cursor_u32(&value);
	}
}

static void parse_options(struct segment *s, struct cursor c)
{
	while (c.left > 0 && !c.failed) {
		uint8_t kind = cursor_u8(&c), size;
		struct cursor value;

		if (kind == TCPOPT_EOL)
			return;
		if (kind == TCPOPT_NOP)
			continue;
		size = cursor_u8(&c);
		if (c.failed || size < 2 || size - 2u > c.left)
			return;
		value = cursor_of(cursor_take(&c, size - 2u), size - 2u);
		if (kind == TCPOPT_SACK) {
			parse_sacks(s, value);
		} else if (kind == TCPOPT_TIMESTAMP && size == TCPOLEN_TIMESTAMP) {
			s->has_time = true;
			s->time = cursor_u32(&value);
			s->echo = cursor_u32(&value);
		}
	}
}

static bool parse_tcp(struct segment *s, struct cursor c)
{
	const uint8_t *h = cursor_take(&c, sizeof(struct tcphdr));
	size_t header = h ? (h[12] >> 4) * 4u : 0;

	if (header < sizeof(struct tcphdr) || header - sizeof(struct tcphdr) > c.left)
		return false;
	s->from_port = get_be16(h);
	s->to_port = get_be16(h + 2);
	s->sequence = get_be32(h + 4);
	s->acknowledged = get_be32(h + 8);
	s->acknowledges = h[13] & TH_ACK;
	s->resets = h[13] & TH_RST;
	s->window = get_be16(h + 14);
	parse_options(s, cursor_of(c.p, header - sizeof(struct tcphdr)));
	return true;
}

bool segment_parse(const void *packet, size_t len, struct segment *ret)
{
	const uint8_t *p = packet;
	bool v4 = len > 0 && p[0] >> 4 == 4;
	size_t header = v4 ? (p[0] & 15u) * 4u : sizeof(struct ip6_hdr);
	size_t from = v4 ? offsetof(struct iphdr, saddr) : offsetof(struct ip6_hdr, ip6_src);

	*ret = (struct segment){.family = v4 ? AF_INET : AF_INET6};
	if (len < header || header < (v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr)) ||
		p[v4 ? offsetof(struct iphdr, protocol) : offsetof(struct ip6_hdr, ip6_nxt)] != IPPROTO_TCP)
		return false;
	/* A fragment after the first has no header. */
	if (v4 && (get_be16(p + offsetof(struct iphdr, frag_off)) & IP_OFFMASK))
		return false;
	memcpy(ret->from, p + from, address_bytes(ret->family));
	memcpy(ret->to, p + from + address_bytes(ret->family), address_bytes(ret->family));
	return parse_tcp(ret, cursor_of(p + header, len - header));
}

/* --- building --------------------------------------------------------------------------------- */

static uint32_t sum(uint32_t before, const uint8_t *p, size_t len)
{
	for (; len > 1; len -= 2, p += 2)
		before += get_be16(p);
	return len ? before + (uint32_t)(p[0] << 8) : before;
}

/* With the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1). At most 64 KiB, which can't overflow. */
static uint16_t checksum(const struct segment *s, const uint8_t *tcp, size_t len)
{
	size_t bytes = address_bytes(s->family);
	uint32_t total = sum(sum((uint32_t)len + IPPROTO_TCP, s->from, bytes), s->to, bytes);

	total = sum(total, tcp, len);
	total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~((total & 0xffff) + (total >> 16));
}

static size_t put_ip(const struct segment *s, size_t payload, uint8_t *p)
{
	bool v4 = s->family == AF_INET;
	size_t bytes = address_bytes(s->family), header = v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);

	memset(p, 0, header);
	if (v4) {
		p[0] = 4 << 4 | sizeof(struct iphdr) / 4;
		put_be16(p + offsetof(struct iphdr, tot_len), (uint16_t)(header + payload));
		p[offsetof(struct iphdr, ttl)] = HOPS;
		p[offsetof(struct iphdr, protocol)] = IPPROTO_TCP;
	} else {
		p[0] = 6 << 4;
		put_be16(p + offsetof(struct ip6_hdr, ip6_plen), (uint16_t)payload);
		p[offsetof(struct ip6_hdr, ip6_nxt)] = IPPROTO_TCP;
		p[offsetof(struct ip6_hdr, ip6_hlim)] = HOPS;
	}
	memcpy(p + header - 2 * bytes, s->from, bytes);
	memcpy(p + header - bytes, s->to, bytes);
	return header;
}

size_t segment_build(const struct segment *s, const void *data, size_t len, uint8_t *ret)
{
	size_t header = sizeof(struct tcphdr) + (s->has_time ? TIMES_BYTES : 0);
	uint8_t *tcp = ret + put_ip(s, header + len, ret);

	memset(tcp, 0, header);
	put_be16(tcp, s->from_port);
	put_be16(tcp + 2, s->to_port);
	put_be32(tcp + 4, s->sequence);
	put_be32(tcp + 8, s->acknowledged);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = TH_ACK | TH_PUSH;
	put_be16(tcp + 14, s->window);
	if (s->has_time) {
		put_be32(tcp + 20, TCPOPT_TSTAMP_HDR);
		put_be32(tcp + 24, s->time);
		put_be32(tcp + 28, s->echo);
	}
	memcpy(tcp + header, data, len);
	put_be16(tcp + 16, checksum(s, tcp, header + len));
	return (size_t)(tcp - ret) + header + len;
}
