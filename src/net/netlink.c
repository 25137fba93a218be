/* SPDX-License-Identifier: Apache-2.0 */
#include "net/netlink.h"

#include <errno.h>
#include <sys/socket.h>

int rtnetlink_request(struct nlmsghdr *h, mnl_cb_t f, void *ctx)
{
	char room[4096] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	ssize_t n;
	int r;

	if (!s)
		return -errno;
	h->nlmsg_flags |= NLM_F_REQUEST;
	r = mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID);
	if (r == 0 && mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
		r = -1;
	if (r == 0) {
		n = mnl_socket_recvfrom(s, room, sizeof(room));
		r = n < 0 ? -1 : mnl_cb_run(room, (size_t)n, 0, mnl_socket_get_portid(s), f, ctx);
	}
	r = r < 0 ? -errno : 0;
	mnl_socket_close(s);
	return r;
}

int netlink_dump(struct mnl_socket *s, struct nlmsghdr *h, mnl_cb_t f, void *ctx)
{
	char room[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = MNL_CB_OK;

	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	if (mnl_socket_sendto(s, h, h->nlmsg_len) < 0)
		return -errno;
	while (r == MNL_CB_OK) {
		ssize_t n = mnl_socket_recvfrom(s, room, sizeof(room));

		if (n < 0)
			return -errno;
		r = mnl_cb_run(room, (size_t)n, 0, 0, f, ctx);
	}
	return r < 0 ? -errno : 0;
}
