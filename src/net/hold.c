/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules, in a table for IPv4 or IPv6:
 *
 *	chain arrivals { type filter hook prerouting priority raw; jump hold }
 *	chain hold {
 *		iif INTERFACE ether daddr != ITS-OWN return
 *		ip daddr != ADDRESS return
 *		ip protocol icmp return
 *		meta mark INJECT_MARK return
 *		queue
 *	}
 *	chain departures { type filter hook output priority raw; jump silence, or keep }
 *	chain silence { ip saddr ADDRESS drop }
 *	chain keep { ip saddr ADDRESS queue }
 *
 * and against being seen, for IPv6 in "arrivals" as well, for IPv4 in a table for ARP:
 *
 *	chain questions { type filter hook input; jump unseen }
 *	chain unseen { arp operation request arp daddr ip ADDRESS drop }
 *
 * The first chain of each pair is what the kernel calls; it is empty unless something is to happen,
 * so that a change is one small transaction.
 */
#include "net/hold.h"

#include "base/clock.h"
#include "base/fd.h"
#include "net/inject.h"
#include "net/nftables.h"
#include "net/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_arp.h>
#include <linux/netfilter_ipv4.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define END_MS 1000 /* the application may be slow, or packets come faster than it takes them */
#define GRACE_MS 10 /* for processors that still see a rule that is gone */

struct hold {
	struct reached what;
	struct nft nft;
	struct queue queue;	/* what came */
	struct queue departing; /* what was to leave while it was unseen */
};

static uint8_t family(const struct hold *h)
{
	return h->what.address.family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

/* Where a thing stands in the IP header. */
struct layout {
	unsigned protocol, source, destination, address_len;
	uint8_t icmp;
};

static const struct layout *layout(const struct hold *h)
{
	static const struct layout v4 = {offsetof(struct iphdr, protocol), offsetof(struct iphdr, saddr),
		offsetof(struct iphdr, daddr), 4, IPPROTO_ICMP};
	static const struct layout v6 = {offsetof(struct ip6_hdr, ip6_nxt),
		offsetof(struct ip6_hdr, ip6_src), offsetof(struct ip6_hdr, ip6_dst), 16, IPPROTO_ICMPV6};

	return h->what.address.family == AF_INET ? &v4 : &v6;
}

static void put_rule(struct nft_batch *b, uint8_t f, const char *chain, int code, const char *to)
{
	nft_rule(b, f, chain);
	nft_then(b, code, to);
	nft_rule_end(b);
}

/* A bridge can pass frames for others through the same hook. */
static void put_not_for_us(struct nft_batch *b, const struct hold *h)
{
	uint8_t mac[ETH_ALEN];

	if (address_hardware(&h->what.address, mac) < 0)
		return;
	nft_rule(b, family(h), "hold");
	nft_if_meta(b, NFT_META_IIF, if_nametoindex(h->what.address.interface));
	nft_if_bytes(b, NFT_PAYLOAD_LL_HEADER, offsetof(struct ether_header, ether_dhost), mac,
		sizeof(mac), true);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
}

static void put_hold(struct nft_batch *b, const struct hold *h, bool older)
{
	const struct layout *l = layout(h);
	uint8_t f = family(h);

	nft_chain(b, f, "hold");
	put_not_for_us(b, h);
	nft_rule(b, f, "hold");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->destination, h->what.address.bytes, l->address_len, true);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
	nft_rule(b, f, "hold");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->protocol, &l->icmp, 1, false);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
	nft_rule(b, f, "hold");
	nft_if_meta(b, NFT_META_MARK, INJECT_MARK);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
	nft_rule(b, f, "hold");
	nft_then_queue(b, h->queue.number, older);
	nft_rule_end(b);
}

/* For what leaves from the address. */
static void put_departures(struct nft_batch *b, const struct hold *h, bool older)
{
	const struct layout *l = layout(h);

	nft_chain(b, family(h), "silence");
	nft_rule(b, family(h), "silence");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->source, h->what.address.bytes, l->address_len, false);
	nft_then(b, NF_DROP, NULL);
	nft_rule_end(b);
	nft_chain(b, family(h), "keep");
	nft_rule(b, family(h), "keep");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->source, h->what.address.bytes, l->address_len, false);
	nft_then_queue(b, h->departing.number, older);
	nft_rule_end(b);
}

static void put_unseen_v4(struct nft_batch *b, const struct hold *h)
{
	uint16_t request = htons(ARPOP_REQUEST);

	nft_table(b, NFPROTO_ARP);
	nft_base_chain(b, NFPROTO_ARP, "questions", NF_ARP_IN, 0);
	nft_chain(b, NFPROTO_ARP, "unseen");
	nft_rule(b, NFPROTO_ARP, "unseen");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct arphdr, ar_op), &request,
		sizeof(request), false);
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct ether_arp, arp_tpa),
		h->what.address.bytes, 4, false);
	nft_then(b, NF_DROP, NULL);
	nft_rule_end(b);
}

/* Neighbour solicitations (RFC 4861, 4.3). They have no extension headers. */
static void put_unseen_v6(struct nft_batch *b, const struct hold *h)
{
	uint8_t icmp = IPPROTO_ICMPV6, solicitation = ND_NEIGHBOR_SOLICIT;

	nft_chain(b, NFPROTO_IPV6, "unseen");
	nft_rule(b, NFPROTO_IPV6, "unseen");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct ip6_hdr, ip6_nxt), &icmp, 1, false);
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, sizeof(struct ip6_hdr), &solicitation, 1, false);
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER,
		sizeof(struct ip6_hdr) + offsetof(struct nd_neighbor_solicit, nd_ns_target),
		h->what.address.bytes, 16, false);
	nft_then(b, NF_DROP, NULL);
	nft_rule_end(b);
}

static int make_rules(struct hold *h, bool older)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	nft_table(&b, family(h));
	nft_base_chain(&b, family(h), "arrivals", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW);
	nft_base_chain(&b, family(h), "departures", NF_INET_LOCAL_OUT, NF_IP_PRI_RAW);
	put_hold(&b, h, older);
	put_departures(&b, h, older);
	if (h->what.address.family == AF_INET)
		put_unseen_v4(&b, h);
	else
		put_unseen_v6(&b, h);
	return nft_commit(&b, &h->nft);
}

int hold_new(const struct reached *what, struct hold **ret, struct err *e)
{
	struct hold *h = calloc(1, sizeof(*h));
	char table[32];
	int r;

	if (!h)
		return err_sys(e, ENOMEM, "hold");
	h->what = *what;
	snprintf(table, sizeof(table), "godwit-%d", getpid());
	r = queue_open(&h->queue);
	if (r == 0)
		r = queue_open(&h->departing);
	if (r == 0)
		r = nft_open(&h->nft, table);
	if (r == 0)
		r = make_rules(h, false);
	if (r == -ENOENT)
		r = make_rules(h, true);
	if (r == 0) {
		*ret = h;
		return 0;
	}
	hold_free(h);
	return err_sys(e, -r, "rules that hold packets to %s", what->address.text);
}

/* Their owner may live on in another process. */
static void remove_rules(struct hold *h)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	nft_table_delete(&b, family(h));
	if (h->what.address.family == AF_INET)
		nft_table_delete(&b, NFPROTO_ARP);
	nft_commit(&b, &h->nft);
}

/* The rules first: what would still come to a queue that is closed is dropped. */
void hold_free(struct hold *h)
{
	if (!h)
		return;
	if (h->nft.socket)
		remove_rules(h);
	nft_close(&h->nft);
	queue_close(&h->queue);
	queue_close(&h->departing);
	free(h);
}

static void put_unseen(struct nft_batch *b, const struct hold *h)
{
	if (h->what.address.family == AF_INET)
		put_rule(b, NFPROTO_ARP, "questions", NFT_JUMP, "unseen");
	else
		put_rule(b, NFPROTO_IPV6, "arrivals", NFT_JUMP, "unseen");
}

int hold_start(struct hold *h, bool unseen)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	if (unseen) {
		put_unseen(&b, h);
		put_rule(&b, family(h), "departures", NFT_JUMP, "keep");
	}
	put_rule(&b, family(h), "arrivals", NFT_JUMP, "hold");
	return nft_commit(&b, &h->nft);
}

/* A processor that still sees the rule may add one: what is left goes in hold_end(). */
static int let_depart(struct hold *h)
{
	int r = queue_take(&h->departing, UINT_MAX, NULL, NULL);

	return r < 0 ? r : queue_decide(&h->departing, NF_ACCEPT);
}

int hold_show(struct hold *h)
{
	struct nft_batch b;
	int r;

	nft_begin(&b, &h->nft);
	nft_flush(&b, family(h), "departures");
	if (h->what.address.family == AF_INET) {
		nft_flush(&b, NFPROTO_ARP, "questions");
	} else {
		nft_flush(&b, NFPROTO_IPV6, "arrivals");
		put_rule(&b, NFPROTO_IPV6, "arrivals", NFT_JUMP, "hold");
	}
	r = nft_commit(&b, &h->nft);
	return r < 0 ? r : let_depart(h);
}

int hold_silence(struct hold *h)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	put_rule(&b, family(h), "departures", NFT_JUMP, "silence");
	return nft_commit(&b, &h->nft);
}

int hold_rules_fd(const struct hold *h)
{
	return mnl_socket_get_fd(h->nft.socket);
}

int hold_fd(const struct hold *h)
{
	return queue_fd(&h->queue);
}

int hold_take(struct hold *h, queue_packet_fn *f, void *ctx)
{
	return queue_take(&h->queue, UINT_MAX, f, ctx);
}

/* Lets go what is there, at the application's pace until @deadline, and what comes within @ms after. */
static int let_go(struct hold *h, uint64_t deadline, uint64_t ms)
{
	int r;

	do {
		r = queue_take(&h->queue, SOCKETS_BURST, NULL, NULL);
		if (r >= 0)
			r = queue_decide(&h->queue, NF_ACCEPT);
		if (r < 0)
			return r;
		sockets_wait_room(&h->what, deadline);
		r = fd_wait(hold_fd(h), POLLIN, deadline_in_ms(ms));
	} while (r == 0 && (ms > 0 || !deadline_passed(deadline)));
	return r == -ETIMEDOUT ? 0 : r;
}

int hold_end(struct hold *h)
{
	uint64_t deadline = deadline_in_ms(END_MS);
	struct nft_batch b;
	int r = let_depart(h);

	if (r == 0)
		r = let_go(h, deadline, 0);
	if (r < 0)
		return r;
	nft_begin(&b, &h->nft);
	nft_flush(&b, family(h), "arrivals");
	nft_flush(&b, family(h), "departures");
	r = nft_commit(&b, &h->nft);
	return r < 0 ? r : let_go(h, deadline, GRACE_MS);
}

struct hold_stats hold_stats(const struct hold *h)
{
	if (!h)
		return (struct hold_stats){0};
	return (struct hold_stats){
		.held = h->queue.taken, .overflow = queue_overflow(&h->queue) + h->queue.cut};
}
