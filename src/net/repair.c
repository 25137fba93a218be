/* SPDX-License-Identifier: Apache-2.0 */
#include "net/repair.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PAYLOAD_MIN 88u /* Linux' own (TCP_MIN_SND_MSS and options) */

void connection_done(struct connection *c)
{
	free(c->sent);
	c->sent = NULL;
}

static int get(int fd, int option, void *ret, socklen_t size)
{
	return getsockopt(fd, IPPROTO_TCP, option, ret, &size) < 0 ? -errno : 0;
}

static bool is_in_repair(int fd)
{
	int domain = 0, type = 0, repair = 0;
	socklen_t a = sizeof(domain), b = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &a) == 0 &&
		(domain == AF_INET || domain == AF_INET6) &&
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &b) == 0 && type == SOCK_STREAM &&
		get(fd, TCP_REPAIR, &repair, sizeof(repair)) == 0 && repair == TCP_REPAIR_ON;
}

union end {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* One of IPv6 may have addresses of IPv4, mapped. */
static uint8_t put_end(const union end *at, uint8_t address[16], uint16_t *port)
{
	bool mapped = at->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&at->v6.sin6_addr);

	*port = ntohs(at->any.sa_family == AF_INET ? at->v4.sin_port : at->v6.sin6_port);
	if (at->any.sa_family == AF_INET)
		memcpy(address, &at->v4.sin_addr, 4);
	else if (mapped)
		memcpy(address, at->v6.sin6_addr.s6_addr + 12, 4);
	else
		memcpy(address, &at->v6.sin6_addr, 16);
	return at->any.sa_family == AF_INET || mapped ? AF_INET : AF_INET6;
}

static int read_ends(int fd, struct segment *s)
{
	union end local = {.v6 = {0}}, peer = {.v6 = {0}};
	socklen_t a = sizeof(local), b = sizeof(peer);

	if (getsockname(fd, &local.any, &a) < 0 || getpeername(fd, &peer.any, &b) < 0)
		return -errno;
	s->family = put_end(&local, s->from, &s->from_port);
	return put_end(&peer, s->to, &s->to_port) == s->family ? 0 : -EAFNOSUPPORT;
}

static int select_queue(int fd, int queue)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) < 0 ? -errno : 0;
}

/* Of the sequence numbers that are on their way, and those bytes. */
static int read_sent(int fd, size_t max, struct connection *c)
{
	int written = 0, not_sent = 0, r = select_queue(fd, TCP_SEND_QUEUE);
	uint32_t end = 0;
	ssize_t n;

	if (r == 0)
		r = get(fd, TCP_QUEUE_SEQ, &end, sizeof(end));
	if (r < 0)
		return r;
	if (ioctl(fd, SIOCOUTQ, &written) < 0 || ioctl(fd, SIOCOUTQNSD, &not_sent) < 0)
		return -errno;
	c->next.sequence = end - (uint32_t)written;
	if (not_sent < 0 || written <= not_sent)
		return 0;
	c->n_sent = (size_t)(written - not_sent) < max ? (size_t)(written - not_sent) : max;
	c->sent = malloc(c->n_sent);
	if (!c->sent)
		return -ENOMEM;
	n = recv(fd, c->sent, c->n_sent, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	/* The kernel tells how long all of the queue is, however little there is room for. */
	c->n_sent = (size_t)n < c->n_sent ? (size_t)n : c->n_sent;
	return n > 0;
}

/* What its header says of the other direction. */
static int read_received(int fd, unsigned scale, struct segment *s)
{
	struct tcp_repair_window w = {0};
	uint32_t window;
	int r = select_queue(fd, TCP_RECV_QUEUE);

	if (r == 0)
		r = get(fd, TCP_QUEUE_SEQ, &s->acknowledged, sizeof(s->acknowledged));
	if (r == 0)
		r = get(fd, TCP_REPAIR_WINDOW, &w, sizeof(w));
	if (r < 0)
		return r;
	window = w.rcv_wup + w.rcv_wnd - s->acknowledged;
	/* More than that was never offered. */
	window = window > w.rcv_wnd ? 0 : window >> scale;
	s->window = window > UINT16_MAX ? UINT16_MAX : (uint16_t)window;
	return 0;
}

static int read_header(int fd, struct connection *c)
{
	struct tcp_info info = {0};
	unsigned headers = c->next.family == AF_INET ? 40 : 60, times, room;
	int largest = 0, r = get(fd, TCP_INFO, &info, sizeof(info));

	/* The peer's, in this mode, not what a segment carries now. */
	if (r == 0)
		r = get(fd, TCP_MAXSEG, &largest, sizeof(largest));
	if (r == 0)
		r = get(fd, TCP_TIMESTAMP, &c->next.time, sizeof(c->next.time));
	if (r < 0)
		return r;
	c->read_at = clock_now();
	c->next.has_time = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
	times = c->next.has_time ? TCPOLEN_TSTAMP_APPA : 0;
	room = info.tcpi_pmtu > headers ? info.tcpi_pmtu - headers : 0;
	room = largest > 0 && (unsigned)largest < room ? (unsigned)largest : room;
	c->payload = room > times ? room - times : 0;
	if (info.tcpi_state != TCP_ESTABLISHED && info.tcpi_state != TCP_CLOSE_WAIT)
		return 0;
	r = read_received(fd, info.tcpi_rcv_wscale, &c->next);
	return r < 0 ? r : c->payload >= PAYLOAD_MIN;
}

int connection_read(int fd, size_t max, struct connection *ret)
{
	int queue = TCP_NO_QUEUE, r;

	*ret = (struct connection){0};
	if (!is_in_repair(fd))
		return 0;
	r = get(fd, TCP_REPAIR_QUEUE, &queue, sizeof(queue));
	if (r == 0)
		r = read_ends(fd, &ret->next);
	if (r == 0)
		r = read_sent(fd, max, ret);
	if (r > 0)
		r = read_header(fd, ret);
	/* As CRIU has left it. */
	select_queue(fd, queue);
	if (r <= 0)
		connection_done(ret);
	return r;
}
