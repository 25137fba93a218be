/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include "base/clock.h"
#include "base/fd.h"
#include "net/netlink.h"
#include "net/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOCAL_MS 1000
#define LOOK_US 200

static size_t address_len(const struct address *a)
{
	return a->family == AF_INET ? 4 : 16;
}

/* Words behind "ADDRESS/PREFIX dev INTERFACE". */
static bool has_more(const char *text)
{
	char rest;

	return sscanf(text, "%*s dev %*s %c", &rest) == 1;
}

int address_parse(const char *text, struct address *ret, struct err *e)
{
	char ip[64], interface[64], vrrp[64], rest;
	unsigned prefix;
	int n = sscanf(text, "%63[0-9a-fA-F.:]/%3u dev %63s vrrp %63s %c", ip, &prefix, interface, vrrp, &rest);
	int r;

	*ret = (struct address){0};
	if ((n == 4 || (n == 3 && !has_more(text))) && strlen(interface) < sizeof(ret->interface) &&
		strlen(text) < sizeof(ret->text) && (n == 3 || vrrp_init(&ret->vrrp, vrrp) == 0)) {
		ret->family = strchr(ip, ':') ? AF_INET6 : AF_INET;
		ret->prefix = (uint8_t)prefix;
		snprintf(ret->interface, sizeof(ret->interface), "%s", interface);
		snprintf(ret->text, sizeof(ret->text), "%s", text);
		if (inet_pton(ret->family, ip, ret->bytes) == 1 && prefix <= address_len(ret) * 8)
			return 0;
	}
	r = err_set(e, ERR_REFUSED, EINVAL, "\"%s\" is no address", text);
	err_remedy(e, "the annotation org.godwit.address wants \"ADDRESS/PREFIX dev INTERFACE\", and "
		      "\"vrrp INSTANCE\" behind it if keepalived owns it");
	return r;
}

int address_interface_up(const struct address *a)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {0};

	memcpy(req.ifr_name, a->interface, sizeof(req.ifr_name));
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return errno == ENODEV ? 0 : -errno;
	return !!(req.ifr_flags & IFF_UP);
}

static bool is_same(const struct address *a, const struct ifaddrs *i)
{
	const void *bytes;

	if (!i->ifa_addr || i->ifa_addr->sa_family != a->family ||
		strcmp(i->ifa_name, a->interface) != 0)
		return false;
	bytes = a->family == AF_INET
		? (const void *)&((const struct sockaddr_in *)i->ifa_addr)->sin_addr
		: (const void *)&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
	return memcmp(bytes, a->bytes, address_len(a)) == 0;
}

int address_present(const struct address *a)
{
	struct ifaddrs *list;
	int found = 0;

	if (getifaddrs(&list) < 0)
		return -errno;
	for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next)
		found = is_same(a, i);
	freeifaddrs(list);
	return found;
}

/* One request about the address; the kernel's answer as 0 or -errno. */
static int request(const struct address *a, uint16_t type, uint16_t flags)
{
	char room[512] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(room);
	struct ifaddrmsg *m;

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_ACK | flags);
	m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->ifa_family = a->family;
	m->ifa_prefixlen = a->prefix;
	m->ifa_index = if_nametoindex(a->interface);
	m->ifa_flags = a->family == AF_INET6 ? IFA_F_NODAD : 0;
	if (m->ifa_index == 0)
		return -ENODEV;
	mnl_attr_put(h, IFA_LOCAL, address_len(a), a->bytes);
	mnl_attr_put(h, IFA_ADDRESS, address_len(a), a->bytes);
	return rtnetlink_request(h, NULL, NULL);
}

/* The kernel makes the route that delivers to a new address of IPv6 a moment later. */
static int wait_local(const struct address *a)
{
	uint64_t deadline = deadline_in_ms(LOCAL_MS);
	struct route route;
	int r;

	while ((r = route_find(a->family, a->bytes, &route)) < 0 || route.type != RTN_LOCAL) {
		if (deadline_passed(deadline))
			return r < 0 ? r : -ETIMEDOUT;
		usleep(LOOK_US);
	}
	return 0;
}

int address_add(const struct address *a)
{
	int r = request(a, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);

	return r == 0 || r == -EEXIST ? wait_local(a) : r;
}

int address_remove(const struct address *a)
{
	int r = request(a, RTM_DELADDR, 0);

	return r == -EADDRNOTAVAIL ? 0 : r;
}

/* RFC 826 over Ethernet. */
struct arp_frame {
	struct ether_header eth;
	struct arphdr arp;
	uint8_t sender_mac[ETH_ALEN], sender_ip[4], target_mac[ETH_ALEN], target_ip[4];
} __attribute__((packed));

int address_hardware(const struct address *a, uint8_t ret[static ETH_ALEN])
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {0};

	memcpy(req.ifr_name, a->interface, sizeof(req.ifr_name));
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &req) < 0)
		return -errno;
	memcpy(ret, req.ifr_hwaddr.sa_data, ETH_ALEN);
	return 0;
}

static int send_frame(const struct address *a, int fd, const void *frame, size_t len)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(a->interface),
		.sll_halen = ETH_ALEN};

	memset(to.sll_addr, 0xff, ETH_ALEN);
	if (sendto(fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return 0;
}

static int announce_v4(const struct address *a, int fd)
{
	struct arp_frame f = {
		.eth = {.ether_type = htons(ETHERTYPE_ARP)},
		.arp = {.ar_hrd = htons(ARPHRD_ETHER), .ar_pro = htons(ETHERTYPE_IP),
			.ar_hln = ETH_ALEN, .ar_pln = 4, .ar_op = htons(ARPOP_REQUEST)},
	};
	int r = address_hardware(a, f.sender_mac);

	if (r < 0)
		return r;
	memset(f.eth.ether_dhost, 0xff, ETH_ALEN);
	memcpy(f.eth.ether_shost, f.sender_mac, ETH_ALEN);
	memcpy(f.sender_ip, a->bytes, 4);
	memcpy(f.target_ip, a->bytes, 4);
	r = send_frame(a, fd, &f, sizeof(f));
	if (r < 0)
		return r;
	/* Some listen to replies only. */
	f.arp.ar_op = htons(ARPOP_REPLY);
	memset(f.target_mac, 0xff, ETH_ALEN);
	return send_frame(a, fd, &f, sizeof(f));
}

static int announce_v6(const struct address *a, int fd)
{
	struct {
		struct nd_neighbor_advert na;
		struct nd_opt_hdr option;
		uint8_t mac[ETH_ALEN];
	} __attribute__((packed)) m = {0};
	struct sockaddr_in6 all = {.sin6_family = AF_INET6,
		.sin6_scope_id = if_nametoindex(a->interface)};
	int hops = 255, index = (int)all.sin6_scope_id, r = address_hardware(a, m.mac);

	if (r < 0)
		return r;
	inet_pton(AF_INET6, "ff02::1", &all.sin6_addr);
	m.na.nd_na_type = ND_NEIGHBOR_ADVERT;
	m.na.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	memcpy(&m.na.nd_na_target, a->bytes, 16);
	m.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
	m.option.nd_opt_len = 1;
	setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops));
	setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index));
	if (sendto(fd, &m, sizeof(m), 0, (struct sockaddr *)&all, sizeof(all)) < 0)
		return -errno;
	return 0;
}

int address_announcer(const struct address *a)
{
	int fd = a->family == AF_INET ? socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
				      : socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);

	return fd < 0 ? -errno : fd;
}

int address_announce(const struct address *a, int announcer)
{
	return a->family == AF_INET ? announce_v4(a, announcer) : announce_v6(a, announcer);
}
