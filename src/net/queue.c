/* SPDX-License-Identifier: Apache-2.0 */
#include "net/queue.h"

#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PACKETS_MAX 16384u /* that wait in the kernel */
#define BUFFER_BYTES (64 << 20) /* of their copies for us */
#define ROOM (128u * 1024)	/* for one message, whose packet has at most 64 KiB */
#define FIRST_NUMBER 26474u	/* any: users choose small ones */
#define NUMBERS 256u
#define TABLE "/proc/thread-self/net/netfilter/nfnetlink_queue"
#define TABLE_MAX (1u << 20)

static struct nlmsghdr *message(void *room, uint16_t what, uint16_t flags, uint16_t number)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct nfgenmsg *g;

	h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | what);
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	*g = (struct nfgenmsg){.version = NFNETLINK_V0, .res_id = htons(number)};
	return h;
}

/* The kernel answers before the sending returns. */
static int configure(struct queue *q, const struct nlmsghdr *h)
{
	ssize_t n;

	if (mnl_socket_sendto(q->socket, h, h->nlmsg_len) < 0)
		return -errno;
	n = recv(mnl_socket_get_fd(q->socket), q->room, ROOM, MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	return mnl_cb_run(q->room, (size_t)n, 0, 0, NULL, NULL) < 0 ? -errno : 0;
}

static int bind_number(struct queue *q, uint16_t number)
{
	char room[256] __attribute__((aligned(NLMSG_ALIGNTO))) = {0}; /* there are gaps between attributes */
	struct nfqnl_msg_config_cmd bind = {.command = NFQNL_CFG_CMD_BIND};
	struct nfqnl_msg_config_params whole = {
		.copy_range = htonl(0xffff), .copy_mode = NFQNL_COPY_PACKET};
	struct nlmsghdr *h = message(room, NFQNL_MSG_CONFIG, NLM_F_ACK, number);

	mnl_attr_put(h, NFQA_CFG_CMD, sizeof(bind), &bind);
	mnl_attr_put(h, NFQA_CFG_PARAMS, sizeof(whole), &whole);
	mnl_attr_put_u32(h, NFQA_CFG_QUEUE_MAXLEN, htonl(PACKETS_MAX));
	q->number = number;
	return configure(q, h);
}

int queue_open(struct queue *q)
{
	int fd, size = BUFFER_BYTES, on = 1, r = -EBUSY;

	*q = QUEUE_INIT;
	q->room = malloc(ROOM);
	q->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!q->room || !q->socket)
		return q->room ? -errno : -ENOMEM;
	fd = mnl_socket_get_fd(q->socket);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	/* What doesn't fit is counted by the kernel: no need to be told. */
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	if (mnl_socket_bind(q->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	for (unsigned i = 0; i < NUMBERS && (r == -EBUSY || r == -EPERM); i++)
		r = bind_number(q, (uint16_t)(FIRST_NUMBER + i));
	return r;
}

void queue_close(struct queue *q)
{
	if (q->socket)
		mnl_socket_close(q->socket);
	free(q->room);
	*q = QUEUE_INIT;
}

int queue_fd(const struct queue *q)
{
	return mnl_socket_get_fd(q->socket);
}

static int on_attribute(const struct nlattr *a, void *ctx)
{
	const struct nlattr **v = ctx;

	if (mnl_attr_get_type(a) <= NFQA_MAX)
		v[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

struct taking {
	struct queue *q;
	queue_packet_fn *f;
	void *ctx;
	int result;
};

static int on_message(const struct nlmsghdr *h, void *ctx)
{
	const struct nlattr *v[NFQA_MAX + 1] = {0};
	struct taking *t = ctx;

	mnl_attr_parse(h, sizeof(struct nfgenmsg), on_attribute, v);
	if (!v[NFQA_PACKET_HDR] || !v[NFQA_PAYLOAD])
		return MNL_CB_OK;
	t->q->newest = ntohl(
		((const struct nfqnl_msg_packet_hdr *)mnl_attr_get_payload(v[NFQA_PACKET_HDR]))->packet_id);
	t->q->taken++;
	t->q->cut |= v[NFQA_CAP_LEN] != NULL;
	if (t->f && t->result == 0)
		t->result = t->f(t->ctx, mnl_attr_get_payload(v[NFQA_PAYLOAD]),
			mnl_attr_get_payload_len(v[NFQA_PAYLOAD]));
	return MNL_CB_OK;
}

int queue_take(struct queue *q, queue_packet_fn *f, void *ctx)
{
	struct taking t = {.q = q, .f = f, .ctx = ctx};
	uint64_t before = q->taken;

	while (t.result == 0) {
		ssize_t n = recv(queue_fd(q), q->room, ROOM, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		mnl_cb_run(q->room, (size_t)n, 0, 0, on_message, &t);
	}
	return t.result < 0 ? t.result : (int)(q->taken - before);
}

uint32_t queue_kept(const struct queue *q)
{
	return q->newest - q->decided;
}

/* The kernel numbers packets from 1 on, and a verdict is for all up to a number. Those that it had no
 * room for have a number, too. */
int queue_decide(struct queue *q, uint32_t verdict, uint32_t max)
{
	char room[256] __attribute__((aligned(NLMSG_ALIGNTO))) = {0};
	struct nfqnl_msg_verdict_hdr v = {.verdict = htonl(verdict)};
	struct nlmsghdr *h = message(room, NFQNL_MSG_VERDICT_BATCH, 0, q->number);
	uint32_t left = queue_kept(q);

	if (left == 0)
		return 0;
	q->decided += left < max ? left : max;
	v.id = htonl(q->decided);
	mnl_attr_put(h, NFQA_VERDICT_HDR, sizeof(v), &v);
	if (mnl_socket_sendto(q->socket, h, h->nlmsg_len) < 0)
		return -errno;
	return queue_kept(q) > 0;
}

/* A line a queue: number, port, waiting, copy mode, copy range, dropped, dropped for want of room in
 * the socket, ... (net/netfilter/nfnetlink_queue.c). */
uint64_t queue_overflow(const struct queue *q)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (!q->socket || file_read(TABLE, TABLE_MAX, &text, NULL) < 0)
		return 0;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		unsigned number;
		uint64_t full, no_room;

		if (sscanf(l, "%u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &number, &full, &no_room) == 3 &&
			number == q->number)
			return full + no_room;
	}
	return 0;
}
