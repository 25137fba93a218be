/* SPDX-License-Identifier: Apache-2.0 */
#include "net/neighbour.h"

#include "net/netlink.h"
#include "net/route.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

int neighbour_ask(uint8_t family, const void *peer)
{
	char room[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct ndmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	struct route route;
	int r = route_find(family, peer, &route);

	if (r < 0 || route.type != RTN_UNICAST)
		return r;
	h->nlmsg_type = RTM_NEWNEIGH;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_ACK;
	m->ndm_family = family;
	m->ndm_ifindex = (int)route.interface;
	m->ndm_flags = NTF_USE;
	mnl_attr_put(h, NDA_DST, family == AF_INET ? 4 : 16, route.next);
	return rtnetlink_request(h, NULL, NULL);
}
