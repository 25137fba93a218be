/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who says that it has an address: every ARP packet and neighbour advertisement on a segment.
 *
 *   owners INTERFACE ADDRESS [EVERY]
 *
 * Until SIGTERM: one line for each, "SECONDS HARDWARE-ADDRESS answer|again|announcement|question": a host
 * that asks with the address as its own counts too. With EVERY it also asks who has it, every so many
 * milliseconds, so that whoever would answer does. Each question comes from another address, as one of
 * many askers, by which an answer is known to be to it: "again" is a second answer to one question at about
 * the same time, which comes of two owners, also when they have the same hardware address. (One that waits
 * in a tunnel while the address moves can rightly be answered twice.)
 */
#define _GNU_SOURCE
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ASKERS 100
#define FIRST_ASKER 120 /* the last byte of its address */
#define SAME_TIME_MS 20 /* shorter than any move */

struct watch {
	int fd, index;
	bool v6;
	uint8_t address[16], mac[ETH_ALEN];
	uint8_t self[16]; /* who asks */
	unsigned asked;
	bool answered[ASKERS];
	int64_t asked_at[ASKERS]; /* ms */
};

static int64_t now_ms(void)
{
	return (int64_t)(clock_ns(CLOCK_MONOTONIC) / 1000000);
}

static size_t last_byte(const struct watch *w)
{
	return w->v6 ? 15 : 3;
}

static void next_asker(struct watch *w)
{
	unsigned n = w->asked++ % ASKERS;

	w->self[last_byte(w)] = (uint8_t)(FIRST_ASKER + n);
	w->answered[n] = false;
	w->asked_at[n] = now_ms();
}

/* @to: who is answered. */
static const char *answer(struct watch *w, const uint8_t *to)
{
	unsigned n = to[last_byte(w)] - FIRST_ASKER;
	bool again;

	if (n >= ASKERS || w->asked == 0)
		return "answer";
	again = w->answered[n] && now_ms() - w->asked_at[n] < SAME_TIME_MS;
	w->answered[n] = true;
	return again ? "again" : "answer";
}

static void say(const uint8_t mac[static ETH_ALEN], const char *what)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	printf("%lld.%06ld %02x:%02x:%02x:%02x:%02x:%02x %s\n", (long long)ts.tv_sec, ts.tv_nsec / 1000,
		mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], what);
	fflush(stdout);
}

static void take_arp(struct watch *w, const uint8_t *p, size_t len)
{
	struct ether_arp a;

	if (len < ETH_HLEN + sizeof(a))
		return;
	memcpy(&a, p + ETH_HLEN, sizeof(a));
	if (memcmp(a.arp_spa, w->address, 4) != 0)
		return;
	if (memcmp(a.arp_spa, a.arp_tpa, 4) == 0)
		say(a.arp_sha, "announcement");
	else
		say(a.arp_sha, ntohs(a.ea_hdr.ar_op) == ARPOP_REPLY ? answer(w, a.arp_tpa) : "question");
}

/* RFC 4861, 4.4. Solicited ones are answers. */
static void take_nd(struct watch *w, const uint8_t *p, size_t len)
{
	struct nd_neighbor_advert na;
	const struct ether_header *eth = (const void *)p;

	if (len < ETH_HLEN + sizeof(struct ip6_hdr) + sizeof(na))
		return;
	memcpy(&na, p + ETH_HLEN + sizeof(struct ip6_hdr), sizeof(na));
	if (p[ETH_HLEN + offsetof(struct ip6_hdr, ip6_nxt)] != IPPROTO_ICMPV6 ||
		na.nd_na_type != ND_NEIGHBOR_ADVERT || memcmp(&na.nd_na_target, w->address, 16) != 0)
		return;
	if (na.nd_na_flags_reserved & ND_NA_FLAG_SOLICITED)
		say(eth->ether_shost, answer(w, p + ETH_HLEN + offsetof(struct ip6_hdr, ip6_dst)));
	else
		say(eth->ether_shost, "announcement");
}

static void send_frame(const struct watch *w, const void *frame, size_t len)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = w->index, .sll_halen = ETH_ALEN};

	sendto(w->fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to));
}

static void ask_v4(const struct watch *w)
{
	struct {
		struct ether_header eth;
		struct ether_arp arp;
	} __attribute__((packed)) f = {
		.eth.ether_type = htons(ETHERTYPE_ARP),
		.arp.ea_hdr = {htons(1), htons(ETHERTYPE_IP), ETH_ALEN, 4, htons(ARPOP_REQUEST)},
	};

	memset(f.eth.ether_dhost, 0xff, ETH_ALEN);
	memcpy(f.eth.ether_shost, w->mac, ETH_ALEN);
	memcpy(f.arp.arp_sha, w->mac, ETH_ALEN);
	memcpy(f.arp.arp_spa, w->self, 4);
	memcpy(f.arp.arp_tpa, w->address, 4);
	send_frame(w, &f, sizeof(f));
}

static uint16_t checksum(const struct ip6_hdr *ip, const void *data, size_t len)
{
	const uint16_t *p = data, *a = (const void *)&ip->ip6_src;
	uint32_t sum = htons(IPPROTO_ICMPV6) + htons((uint16_t)len);

	for (size_t i = 0; i < 16; i++)
		sum += a[i];
	for (size_t i = 0; i < len / 2; i++)
		sum += p[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~((sum >> 16) + sum);
}

/* To the group of all hosts whose addresses end so: RFC 4291, 2.7.1. */
static void ask_v6(const struct watch *w)
{
	struct {
		struct ether_header eth;
		struct ip6_hdr ip;
		struct nd_neighbor_solicit ns;
		struct nd_opt_hdr option;
		uint8_t mac[ETH_ALEN];
	} __attribute__((packed)) f = {
		.eth = {{0x33, 0x33, 0xff}, {0}, htons(ETHERTYPE_IPV6)},
		.ip.ip6_nxt = IPPROTO_ICMPV6,
		.ip.ip6_hlim = 255,
		.ns.nd_ns_type = ND_NEIGHBOR_SOLICIT,
		.option = {ND_OPT_SOURCE_LINKADDR, 1},
	};
	uint8_t icmp[sizeof(f.ns) + 8];
	struct ip6_hdr ip;

	memcpy(f.eth.ether_dhost + 3, w->address + 13, 3);
	memcpy(f.eth.ether_shost, w->mac, ETH_ALEN);
	memcpy(f.mac, w->mac, ETH_ALEN);
	f.ip.ip6_vfc = 0x60;
	f.ip.ip6_plen = htons(sizeof(icmp));
	memcpy(&f.ip.ip6_src, w->self, 16);
	inet_pton(AF_INET6, "ff02::1:ff00:0", &f.ip.ip6_dst);
	memcpy((uint8_t *)&f.ip.ip6_dst + 13, w->address + 13, 3);
	memcpy(&f.ns.nd_ns_target, w->address, 16);
	memcpy(icmp, &f.ns, sizeof(icmp));
	memcpy(&ip, &f.ip, sizeof(ip));
	f.ns.nd_ns_cksum = checksum(&ip, icmp, sizeof(icmp));
	send_frame(w, &f, sizeof(f));
}

/* The interface's hardware address, and one of its addresses: what a socket to the other would use. */
static int know_self(struct watch *w, const char *interface)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	struct sockaddr *to = w->v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t len = w->v6 ? sizeof(v6) : sizeof(v4);
	int s = socket(to->sa_family, SOCK_DGRAM, 0);
	struct ifreq req = {0};

	memcpy(&v4.sin_addr, w->address, 4);
	memcpy(&v6.sin6_addr, w->address, 16);
	strncpy(req.ifr_name, interface, sizeof(req.ifr_name) - 1);
	if (s < 0 || ioctl(s, SIOCGIFHWADDR, &req) < 0 || connect(s, to, len) < 0 ||
		getsockname(s, to, &len) < 0)
		return -1;
	memcpy(w->mac, req.ifr_hwaddr.sa_data, ETH_ALEN);
	memcpy(w->self, w->v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr, w->v6 ? 16 : 4);
	close(s);
	return 0;
}

static int watch_init(struct watch *w, const char *interface, const char *address)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET};

	w->v6 = strchr(address, ':') != NULL;
	w->index = (int)if_nametoindex(interface);
	if (inet_pton(w->v6 ? AF_INET6 : AF_INET, address, w->address) != 1)
		return -1;
	at.sll_ifindex = w->index;
	at.sll_protocol = htons(w->v6 ? ETHERTYPE_IPV6 : ETHERTYPE_ARP);
	w->fd = socket(AF_PACKET, SOCK_RAW, at.sll_protocol);
	if (w->fd < 0 || bind(w->fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -1;
	return know_self(w, interface);
}

static void take_frames(struct watch *w)
{
	uint8_t frame[2048];

	for (ssize_t n; (n = recv(w->fd, frame, sizeof(frame), MSG_DONTWAIT)) > 0;)
		(w->v6 ? take_nd : take_arp)(w, frame, (size_t)n);
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct watch w = {0};
	int every = argc == 4 ? atoi(argv[3]) : 0;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: owners INTERFACE ADDRESS [EVERY]\n");
		return 2;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (watch_init(&w, argv[1], argv[2]) < 0) {
		fprintf(stderr, "owners: %s\n", strerror(errno));
		return 1;
	}
	for (int64_t next = now_ms(); !ended;) {
		struct pollfd p = {.fd = w.fd, .events = POLLIN};
		int64_t left = next - now_ms();

		if (every && left <= 0) {
			next_asker(&w);
			(w.v6 ? ask_v6 : ask_v4)(&w);
			/* Never two at once to catch up: each has an asker of its own for a while. */
			next = now_ms() + every;
		} else if (poll(&p, 1, every ? (int)left : -1) > 0) {
			take_frames(&w);
		}
	}
	return 0;
}
