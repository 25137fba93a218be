/* SPDX-License-Identifier: Apache-2.0 */
#include "net/route.h"

#include "net/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

static size_t length(uint8_t family)
{
	return family == AF_INET ? 4 : 16;
}

static int on_attribute(const struct nlattr *a, void *ctx)
{
	struct route *r = ctx;
	uint16_t len = mnl_attr_get_payload_len(a);

	if (mnl_attr_get_type(a) == RTA_OIF && len == sizeof(r->interface))
		r->interface = mnl_attr_get_u32(a);
	if (mnl_attr_get_type(a) == RTA_GATEWAY && len <= sizeof(r->next))
		memcpy(r->next, mnl_attr_get_payload(a), len);
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *h, void *ctx)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct route *r = ctx;

	r->type = m->rtm_type;
	return mnl_attr_parse(h, sizeof(*m), on_attribute, r);
}

int route_find(uint8_t family, const void *address, struct route *ret)
{
	char room[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	size_t len = length(family);

	h->nlmsg_type = RTM_GETROUTE;
	m->rtm_family = family;
	m->rtm_dst_len = (uint8_t)(len * 8);
	mnl_attr_put(h, RTA_DST, len, address);
	*ret = (struct route){0};
	memcpy(ret->next, address, len);
	return rtnetlink_request(h, on_route, ret);
}

/* --- those that are set ----------------------------------------------------------------------- */

struct walk {
	route_fn *f;
	void *ctx;
};

static int on_entry_attribute(const struct nlattr *a, void *ctx)
{
	struct route_entry *r = ctx;
	uint16_t len = mnl_attr_get_payload_len(a);

	if (mnl_attr_get_type(a) == RTA_DST && len <= sizeof(r->to))
		memcpy(r->to, mnl_attr_get_payload(a), len);
	if (mnl_attr_get_type(a) == RTA_GATEWAY && len <= sizeof(r->via))
		memcpy(r->via, mnl_attr_get_payload(a), len);
	return MNL_CB_OK;
}

static int on_entry(const struct nlmsghdr *h, void *ctx)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct route_entry r = {.family = m->rtm_family, .prefix = m->rtm_dst_len};
	struct walk *w = ctx;

	if (m->rtm_table != RT_TABLE_MAIN || m->rtm_type != RTN_UNICAST ||
		m->rtm_protocol == RTPROT_KERNEL || m->rtm_protocol == RTPROT_RA)
		return MNL_CB_OK;
	mnl_attr_parse(h, sizeof(*m), on_entry_attribute, &r);
	w->f(w->ctx, &r);
	return MNL_CB_OK;
}

static int dump(struct mnl_socket *s, uint8_t family, struct walk *w)
{
	char room[64] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	h->nlmsg_type = RTM_GETROUTE;
	m->rtm_family = family;
	return netlink_dump(s, h, on_entry, w);
}

int route_each(route_fn *f, void *ctx)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct walk w = {f, ctx};
	int r;

	if (!s)
		return -errno;
	r = dump(s, AF_INET, &w);
	if (r == 0)
		r = dump(s, AF_INET6, &w);
	mnl_socket_close(s);
	return r;
}

int route_set(const struct route_entry *r, uint32_t interface)
{
	char room[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	h->nlmsg_type = RTM_NEWROUTE;
	h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
	m->rtm_family = r->family;
	m->rtm_dst_len = r->prefix;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put(h, RTA_DST, length(r->family), r->to);
	mnl_attr_put(h, RTA_GATEWAY, length(r->family), r->via);
	mnl_attr_put_u32(h, RTA_OIF, interface);
	return rtnetlink_request(h, NULL, NULL);
}
