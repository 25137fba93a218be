/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sockets.h"

#include "base/clock.h"
#include "net/netlink.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define CROWDED_BYTES 32768u /* of about 200 KB that a queue may have by default */
#define LOOK_US 200 /* there is no event for a queue that gets shorter */
#define LISTENING (1u << TCP_LISTEN)
/* Those that a peer still knows of. */
#define CONNECTED                                                                                  \
	(1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 |  \
		1u << TCP_CLOSE_WAIT | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING)

struct looking {
	const struct reached *r;
	uint8_t protocol;
	struct sockets *ret;
};

/* A socket of IPv6 may have an address of IPv4, mapped (RFC 4291, 2.5.5.2). */
static bool is_address(const struct address *a, uint8_t family, const void *at)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *p = at;

	if (a->family == family)
		return memcmp(p, a->bytes, family == AF_INET ? 4 : 16) == 0;
	return family == AF_INET6 && memcmp(p, mapped, sizeof(mapped)) == 0 &&
		memcmp(p + sizeof(mapped), a->bytes, 4) == 0;
}

static bool is_reached(const struct reached *r, const struct inet_diag_msg *m)
{
	for (size_t i = 0; i < r->n_addresses; i++)
		if (is_address(&r->addresses[i], m->idiag_family, m->id.idiag_src))
			return true;
	return false;
}

/* Any address, but a port of the container. */
static bool is_wide(const struct reached *r, const struct inet_diag_msg *m)
{
	static const uint8_t any[16];

	if (memcmp(m->id.idiag_src, any, m->idiag_family == AF_INET ? 4 : 16) != 0)
		return false;
	for (size_t i = 0; i < r->n_ports; i++)
		if (r->ports[i] == ntohs(m->id.idiag_sport))
			return true;
	return false;
}

int reached_add_address(struct reached *r, const struct address *a)
{
	if (r->n_addresses == REACHED_ADDRESSES)
		return -ENOSPC;
	r->addresses[r->n_addresses++] = *a;
	return 0;
}

void reached_add_port(struct reached *r, uint16_t port)
{
	if (r->n_ports < SOCKETS_PORTS_MAX)
		r->ports[r->n_ports++] = port;
}

static int on_socket(const struct nlmsghdr *h, void *ctx)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);
	struct looking *l = ctx;
	bool bound, wide;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || mnl_nlmsg_get_payload_len(h) < sizeof(*m))
		return MNL_CB_OK;
	bound = is_reached(l->r, m);
	wide = is_wide(l->r, m);
	if (l->protocol == IPPROTO_UDP && (bound || wide))
		l->ret->datagram_bytes += m->idiag_rqueue;
	else if (l->protocol == IPPROTO_TCP && m->idiag_state == TCP_LISTEN && (bound || wide))
		l->ret->accepting += m->idiag_rqueue;
	else if (l->protocol == IPPROTO_TCP && m->idiag_state != TCP_LISTEN && bound)
		l->ret->connections++;
	return MNL_CB_OK;
}

static int look(struct mnl_socket *s, uint8_t family, struct looking *l)
{
	char room[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct inet_diag_req_v2 *q = mnl_nlmsg_put_extra_header(h, sizeof(*q));

	h->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	q->sdiag_family = family;
	q->sdiag_protocol = l->protocol;
	q->idiag_states = l->protocol == IPPROTO_TCP ? LISTENING | CONNECTED : ~0u;
	return netlink_dump(s, h, on_socket, l);
}

static int look_by(const struct reached *of, const uint8_t *protocols, size_t n, struct sockets *ret)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct mnl_socket *s = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	int r = s ? 0 : -errno;

	*ret = (struct sockets){0};
	for (size_t i = 0; r == 0 && i < 2 * n; i++) {
		struct looking l = {.r = of, .protocol = protocols[i / 2], .ret = ret};

		r = look(s, families[i % 2], &l);
	}
	if (s)
		mnl_socket_close(s);
	return r;
}

int sockets_look(const struct reached *of, struct sockets *ret)
{
	static const uint8_t protocols[] = {IPPROTO_UDP, IPPROTO_TCP};

	return look_by(of, protocols, 2, ret);
}

/* The kernel's table of connections is ten times as long. */
static int look_at_datagrams(const struct reached *of, struct sockets *ret)
{
	static const uint8_t protocol = IPPROTO_UDP;

	return look_by(of, &protocol, 1, ret);
}

struct sockets_pace sockets_pace(const struct reached *of)
{
	return (struct sockets_pace){.of = of, .deadline = deadline_in_ms(SOCKETS_PATIENCE_MS)};
}

void sockets_wait_room(struct sockets_pace *p)
{
	uint64_t fewest = UINT64_MAX, stalled = 0;
	struct sockets s;

	while (!p->given_up && look_at_datagrams(p->of, &s) == 0 && s.datagram_bytes > CROWDED_BYTES) {
		if (s.datagram_bytes < fewest) {
			fewest = s.datagram_bytes;
			stalled = deadline_in_ms(SOCKETS_STALL_MS);
		}
		p->given_up = deadline_passed(stalled) || deadline_passed(p->deadline);
		usleep(LOOK_US);
	}
}
