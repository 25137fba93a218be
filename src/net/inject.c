/* SPDX-License-Identifier: Apache-2.0 */
#include "net/inject.h"

#include "base/buf.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_valid_v4(const struct address *a, const uint8_t *p, size_t len)
{
	size_t header = (p[0] & 15u) * 4u;

	return len >= sizeof(struct iphdr) && header >= sizeof(struct iphdr) && header <= len &&
		get_be16(p + offsetof(struct iphdr, tot_len)) == len &&
		p[offsetof(struct iphdr, protocol)] != IPPROTO_ICMP &&
		memcmp(p + offsetof(struct iphdr, daddr), a->bytes, 4) == 0;
}

static bool is_valid_v6(const struct address *a, const uint8_t *p, size_t len)
{
	return len >= sizeof(struct ip6_hdr) &&
		get_be16(p + offsetof(struct ip6_hdr, ip6_plen)) == len - sizeof(struct ip6_hdr) &&
		p[offsetof(struct ip6_hdr, ip6_nxt)] != IPPROTO_ICMPV6 &&
		memcmp(p + offsetof(struct ip6_hdr, ip6_dst), a->bytes, 16) == 0;
}

bool inject_valid(const struct address *a, const void *packet, size_t len)
{
	const uint8_t *p = packet;

	if (len == 0)
		return false;
	if (a->family == AF_INET)
		return p[0] >> 4 == 4 && is_valid_v4(a, p, len);
	return p[0] >> 4 == 6 && is_valid_v6(a, p, len);
}

const void *inject_sender(const struct address *a, const void *packet)
{
	return (const uint8_t *)packet + (a->family == AF_INET ? offsetof(struct iphdr, saddr)
							       : offsetof(struct ip6_hdr, ip6_src));
}

int injector_open(const struct address *a)
{
	int fd = socket(a->family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	unsigned mark = INJECT_MARK;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int send_to(int injector, uint8_t family, const uint8_t *to, const void *packet, size_t len, int flags)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	const struct sockaddr *at = (struct sockaddr *)&v6;
	socklen_t at_len = sizeof(v6);

	if (family == AF_INET) {
		memcpy(&v4.sin_addr, to, 4);
		at = (struct sockaddr *)&v4;
		at_len = sizeof(v4);
	} else {
		memcpy(&v6.sin6_addr, to, 16);
	}
	return sendto(injector, packet, len, flags, at, at_len) < 0 ? -errno : 0;
}

int inject_out(int injector, uint8_t family, const uint8_t *to, const void *packet, size_t len)
{
	return send_to(injector, family, to, packet, len, MSG_DONTWAIT);
}

int inject(int injector, const struct address *a, const void *packet, size_t len)
{
	if (!inject_valid(a, packet, len))
		return -EINVAL;
	return send_to(injector, a->family, a->bytes, packet, len, 0);
}
