/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nic.h"

#include "net/netns.h"
#include "net/netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_END "veth%d" /* the kernel puts a number in */

struct request {
	char room[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h;
};

/* Flags that are in @up are set. */
static void begin(struct request *q, uint16_t type, uint16_t flags, uint32_t index, unsigned up)
{
	struct ifinfomsg *m;

	memset(q->room, 0, sizeof(q->room)); /* there are gaps between attributes */
	q->h = mnl_nlmsg_put_header(q->room);
	q->h->nlmsg_type = type;
	q->h->nlmsg_flags = (uint16_t)(NLM_F_ACK | flags);
	m = mnl_nlmsg_put_extra_header(q->h, sizeof(*m));
	m->ifi_index = (int)index;
	m->ifi_flags = m->ifi_change = up;
}

static int finish(struct request *q)
{
	return rtnetlink_request(q->h, NULL, NULL);
}

/* --- questions -------------------------------------------------------------------------------- */

struct about {
	uint32_t link; /* the number of the interface that it goes by, in that one's namespace */
	unsigned mtu;
};

static int on_attribute(const struct nlattr *a, void *ctx)
{
	struct about *about = ctx;

	if (mnl_attr_get_type(a) == IFLA_LINK)
		about->link = mnl_attr_get_u32(a);
	if (mnl_attr_get_type(a) == IFLA_MTU)
		about->mtu = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *h, void *ctx)
{
	return mnl_attr_parse(h, sizeof(struct ifinfomsg), on_attribute, ctx);
}

static int ask(const char *interface, struct about *ret)
{
	struct request q;

	*ret = (struct about){0};
	begin(&q, RTM_GETLINK, 0, if_nametoindex(interface), 0);
	q.h->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	return rtnetlink_request(q.h, on_link, ret);
}

/* --- making ----------------------------------------------------------------------------------- */

/* Which address for its link the kernel makes of its hardware address: none as long as that may change. */
static void put_address_mode(struct request *q, uint8_t mode)
{
	struct nlattr *spec = mnl_attr_nest_start(q->h, IFLA_AF_SPEC);
	struct nlattr *v6 = mnl_attr_nest_start(q->h, AF_INET6);

	mnl_attr_put_u8(q->h, IFLA_INET6_ADDR_GEN_MODE, mode);
	mnl_attr_nest_end(q->h, v6);
	mnl_attr_nest_end(q->h, spec);
}

static void put_inner_end(struct request *q, const struct network *n, int ns, unsigned mtu)
{
	mnl_attr_put_strz(q->h, IFLA_IFNAME, n->interface);
	mnl_attr_put_u32(q->h, IFLA_NET_NS_FD, (uint32_t)ns);
	mnl_attr_put_u32(q->h, IFLA_MTU, mtu);
}

static void put_veth(struct request *q, const struct network *n, int ns, unsigned mtu)
{
	struct nlattr *info, *data, *peer;

	mnl_attr_put_strz(q->h, IFLA_IFNAME, HOST_END);
	mnl_attr_put_u32(q->h, IFLA_MTU, mtu);
	info = mnl_attr_nest_start(q->h, IFLA_LINKINFO);
	mnl_attr_put_strz(q->h, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(q->h, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(q->h, VETH_INFO_PEER);
	memset(mnl_nlmsg_put_extra_header(q->h, sizeof(struct ifinfomsg)), 0, sizeof(struct ifinfomsg));
	put_inner_end(q, n, ns, mtu);
	mnl_attr_put(q->h, IFLA_ADDRESS, ETH_ALEN, n->mac);
	mnl_attr_nest_end(q->h, peer);
	mnl_attr_nest_end(q->h, data);
	mnl_attr_nest_end(q->h, info);
}

static void put_macvlan(struct request *q, const struct network *n, int ns, unsigned mtu)
{
	struct nlattr *info, *data;

	put_inner_end(q, n, ns, mtu);
	mnl_attr_put_u32(q->h, IFLA_LINK, if_nametoindex(n->parent));
	info = mnl_attr_nest_start(q->h, IFLA_LINKINFO);
	mnl_attr_put_strz(q->h, IFLA_INFO_KIND, "macvlan");
	data = mnl_attr_nest_start(q->h, IFLA_INFO_DATA);
	mnl_attr_put_u32(q->h, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
	mnl_attr_nest_end(q->h, data);
	mnl_attr_nest_end(q->h, info);
}

int nic_make(const struct network *n, int ns)
{
	struct about parent;
	struct request q;
	int r = ask(n->parent, &parent);

	if (r < 0)
		return r;
	begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, n->kind == NETWORK_VETH ? IFF_UP : 0);
	(n->kind == NETWORK_VETH ? put_veth : put_macvlan)(&q, n, ns, n->mtu ? n->mtu : parent.mtu);
	return finish(&q);
}

int nic_raise(const struct network *n)
{
	struct request q;
	int r;

	begin(&q, RTM_NEWLINK, 0, if_nametoindex("lo"), IFF_UP);
	r = finish(&q);
	if (r < 0)
		return r;
	begin(&q, RTM_NEWLINK, 0, if_nametoindex(n->interface), 0);
	put_address_mode(&q, IN6_ADDR_GEN_MODE_NONE);
	r = finish(&q);
	if (r < 0)
		return r;
	begin(&q, RTM_NEWLINK, 0, if_nametoindex(n->interface), IFF_UP);
	return finish(&q);
}

int nic_delete(const struct network *n)
{
	struct request q;
	uint32_t index = if_nametoindex(n->interface);

	if (index == 0)
		return 0;
	begin(&q, RTM_DELLINK, 0, index, 0);
	return finish(&q);
}

/* --- joining ---------------------------------------------------------------------------------- */

/* In the container's network. */
static int settle(const struct network *n, struct about *ret)
{
	struct request q;
	int r;

	begin(&q, RTM_NEWLINK, 0, if_nametoindex(n->interface), 0);
	if (n->kind == NETWORK_MACVLAN)
		mnl_attr_put(q.h, IFLA_ADDRESS, ETH_ALEN, n->mac);
	put_address_mode(&q, IN6_ADDR_GEN_MODE_EUI64);
	r = finish(&q);
	return r < 0 ? r : ask(n->interface, ret);
}

int nic_join(const struct network *n, int ns)
{
	struct about inner = {0};
	struct request q;
	int back, r = netns_enter(ns, &back);

	if (r < 0)
		return r;
	r = settle(n, &inner);
	netns_leave(&back);
	if (r < 0 || n->kind == NETWORK_MACVLAN)
		return r;
	begin(&q, RTM_NEWLINK, 0, inner.link, 0);
	mnl_attr_put_u32(q.h, IFLA_MASTER, if_nametoindex(n->parent));
	return finish(&q);
}
