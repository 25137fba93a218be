/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules, in a table for each family, IPv4 or IPv6, that there are addresses of:
 *
 *	chain arrivals { type filter hook prerouting priority raw; jump hold }
 *	chain hold {
 *		iif INTERFACE ether daddr != ITS-OWN return
 *		ip protocol icmp return
 *		meta mark INJECT_MARK return
 *		ip daddr ADDRESS queue, for each
 *	}
 *	chain departures { type filter hook output priority raw; jump silence, or keep }
 *	chain silence { ip saddr ADDRESS drop, for each }
 *	chain keep { ip saddr ADDRESS queue, for each }
 *
 * and against being seen, for IPv6 in "arrivals" as well, for IPv4 in a table for ARP:
 *
 *	chain questions { type filter hook input; jump unseen }
 *	chain unseen { arp operation request arp daddr ip ADDRESS drop, for each }
 *
 * In a network of the container's own nothing at all leaves it when it is silenced: what its kernel says
 * for itself would make bridges believe that its hardware address is here. There are tables for both
 * families then, and in that for ARP:
 *
 *	chain replies { type filter hook output; jump mute }
 *	chain mute { drop }
 *	chain silence { oif lo return; drop }
 *
 * The first chain of each pair is what the kernel calls; it is empty unless something is to happen,
 * so that a change is one small transaction.
 */
#include "net/hold.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
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

#define GRACE_MS 10 /* for processors that still see a rule that is gone */

struct hold {
	struct reached what;
	struct nft nft;
	struct queue queue;	/* what came */
	struct queue departing; /* what was to leave while it was unseen */
	uint64_t late;
};

static const uint8_t families[] = {NFPROTO_IPV4, NFPROTO_IPV6};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

static int domain(uint8_t f)
{
	return f == NFPROTO_IPV4 ? AF_INET : AF_INET6;
}

/* The next of the addresses of a family after number *@i, or NULL; *i starts with 0. */
static const struct address *next_address(const struct hold *h, uint8_t f, size_t *i)
{
	while (*i < h->what.n_addresses) {
		const struct address *a = &h->what.addresses[(*i)++];

		if (a->family == domain(f))
			return a;
	}
	return NULL;
}

static bool has_table(const struct hold *h, uint8_t f)
{
	size_t i = 0;

	return h->what.own_network || next_address(h, f == NFPROTO_ARP ? NFPROTO_IPV4 : f, &i);
}

/* Where a thing stands in the IP header. */
struct layout {
	unsigned protocol, source, destination, address_len;
	uint8_t icmp;
};

static const struct layout *layout(uint8_t f)
{
	static const struct layout v4 = {offsetof(struct iphdr, protocol), offsetof(struct iphdr, saddr),
		offsetof(struct iphdr, daddr), 4, IPPROTO_ICMP};
	static const struct layout v6 = {offsetof(struct ip6_hdr, ip6_nxt),
		offsetof(struct ip6_hdr, ip6_src), offsetof(struct ip6_hdr, ip6_dst), 16, IPPROTO_ICMPV6};

	return f == NFPROTO_IPV4 ? &v4 : &v6;
}

static void put_rule(struct nft_batch *b, uint8_t f, const char *chain, int code, const char *to)
{
	nft_rule(b, f, chain);
	nft_then(b, code, to);
	nft_rule_end(b);
}

/* A bridge can pass frames for others through the same hook. */
static void put_not_for_us(struct nft_batch *b, const struct hold *h, uint8_t f)
{
	const struct address *a = &h->what.addresses[0];
	uint8_t mac[ETH_ALEN];

	if (h->what.own_network || address_hardware(a, mac) < 0)
		return;
	nft_rule(b, f, "hold");
	nft_if_meta(b, NFT_META_IIF, if_nametoindex(a->interface));
	nft_if_bytes(b, NFT_PAYLOAD_LL_HEADER, offsetof(struct ether_header, ether_dhost), mac,
		sizeof(mac), true);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
}

static void put_hold(struct nft_batch *b, const struct hold *h, uint8_t f, bool older)
{
	const struct layout *l = layout(f);
	const struct address *a;

	nft_chain(b, f, "hold");
	put_not_for_us(b, h, f);
	nft_rule(b, f, "hold");
	nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->protocol, &l->icmp, 1, false);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
	nft_rule(b, f, "hold");
	nft_if_meta(b, NFT_META_MARK, INJECT_MARK);
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
	for (size_t i = 0; (a = next_address(h, f, &i));) {
		nft_rule(b, f, "hold");
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->destination, a->bytes, l->address_len, false);
		nft_then_queue(b, h->queue.number, older);
		nft_rule_end(b);
	}
}

static void put_silence_of_all(struct nft_batch *b, uint8_t f)
{
	nft_rule(b, f, "silence");
	nft_if_meta(b, NFT_META_OIF, if_nametoindex("lo"));
	nft_then(b, NFT_RETURN, NULL);
	nft_rule_end(b);
	put_rule(b, f, "silence", NF_DROP, NULL);
}

/* For what leaves from the addresses. */
static void put_departures(struct nft_batch *b, const struct hold *h, uint8_t f, bool older)
{
	const struct layout *l = layout(f);
	const struct address *a;

	nft_chain(b, f, "silence");
	nft_chain(b, f, "keep");
	if (h->what.own_network)
		put_silence_of_all(b, f);
	for (size_t i = 0; (a = next_address(h, f, &i));) {
		nft_rule(b, f, "silence");
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->source, a->bytes, l->address_len, false);
		nft_then(b, NF_DROP, NULL);
		nft_rule_end(b);
		nft_rule(b, f, "keep");
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, l->source, a->bytes, l->address_len, false);
		nft_then_queue(b, h->departing.number, older);
		nft_rule_end(b);
	}
}

static void put_unseen_v4(struct nft_batch *b, const struct hold *h)
{
	uint16_t request = htons(ARPOP_REQUEST);
	const struct address *a;

	nft_table(b, NFPROTO_ARP);
	nft_base_chain(b, NFPROTO_ARP, "questions", NF_ARP_IN, 0);
	nft_base_chain(b, NFPROTO_ARP, "replies", NF_ARP_OUT, 0);
	nft_chain(b, NFPROTO_ARP, "unseen");
	nft_chain(b, NFPROTO_ARP, "mute");
	put_rule(b, NFPROTO_ARP, "mute", NF_DROP, NULL);
	for (size_t i = 0; (a = next_address(h, NFPROTO_IPV4, &i));) {
		nft_rule(b, NFPROTO_ARP, "unseen");
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct arphdr, ar_op), &request,
			sizeof(request), false);
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct ether_arp, arp_tpa), a->bytes, 4,
			false);
		nft_then(b, NF_DROP, NULL);
		nft_rule_end(b);
	}
}

/* Neighbour solicitations (RFC 4861, 4.3). They have no extension headers. */
static void put_unseen_v6(struct nft_batch *b, const struct hold *h)
{
	uint8_t icmp = IPPROTO_ICMPV6, solicitation = ND_NEIGHBOR_SOLICIT;
	const struct address *a;

	nft_chain(b, NFPROTO_IPV6, "unseen");
	for (size_t i = 0; (a = next_address(h, NFPROTO_IPV6, &i));) {
		nft_rule(b, NFPROTO_IPV6, "unseen");
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct ip6_hdr, ip6_nxt), &icmp, 1,
			false);
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER, sizeof(struct ip6_hdr), &solicitation, 1, false);
		nft_if_bytes(b, NFT_PAYLOAD_NETWORK_HEADER,
			sizeof(struct ip6_hdr) + offsetof(struct nd_neighbor_solicit, nd_ns_target),
			a->bytes, 16, false);
		nft_then(b, NF_DROP, NULL);
		nft_rule_end(b);
	}
}

static int make_rules(struct hold *h, bool older)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	for (size_t i = 0; i < FAMILIES; i++) {
		uint8_t f = families[i];

		if (!has_table(h, f))
			continue;
		nft_table(&b, f);
		nft_base_chain(&b, f, "arrivals", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW);
		nft_base_chain(&b, f, "departures", NF_INET_LOCAL_OUT, NF_IP_PRI_RAW);
		put_hold(&b, h, f, older);
		put_departures(&b, h, f, older);
		(f == NFPROTO_IPV4 ? put_unseen_v4 : put_unseen_v6)(&b, h);
	}
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
	return err_sys(e, -r, "rules that hold packets to %s", what->addresses[0].text);
}

/* Their owner may live on in another process. */
static void remove_rules(struct hold *h)
{
	static const uint8_t all[] = {NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_ARP};
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (has_table(h, all[i]))
			nft_table_delete(&b, all[i]);
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

static void put_unseen(struct nft_batch *b, uint8_t f)
{
	if (f == NFPROTO_IPV4)
		put_rule(b, NFPROTO_ARP, "questions", NFT_JUMP, "unseen");
	else
		put_rule(b, NFPROTO_IPV6, "arrivals", NFT_JUMP, "unseen");
}

int hold_start(struct hold *h, bool unseen)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	for (size_t i = 0; i < FAMILIES; i++) {
		if (!has_table(h, families[i]))
			continue;
		if (unseen) {
			put_unseen(&b, families[i]);
			put_rule(&b, families[i], "departures", NFT_JUMP, "keep");
		}
		put_rule(&b, families[i], "arrivals", NFT_JUMP, "hold");
	}
	return nft_commit(&b, &h->nft);
}

static int let_all_go(struct queue *q)
{
	int r = queue_take(q, NULL, NULL);

	return r < 0 ? r : queue_decide(q, NF_ACCEPT, UINT32_MAX);
}

/* All that hides it goes. */
static void flush_silence(struct nft_batch *b, uint8_t f)
{
	nft_flush(b, f, "departures");
	if (f == NFPROTO_IPV4) {
		nft_flush(b, NFPROTO_ARP, "questions");
		nft_flush(b, NFPROTO_ARP, "replies");
	}
}

int hold_show(struct hold *h)
{
	struct nft_batch b;
	int r;

	nft_begin(&b, &h->nft);
	for (size_t i = 0; i < FAMILIES; i++) {
		if (!has_table(h, families[i]))
			continue;
		flush_silence(&b, families[i]);
		nft_flush(&b, families[i], "arrivals");
		put_rule(&b, families[i], "arrivals", NFT_JUMP, "hold");
	}
	r = nft_commit(&b, &h->nft);
	/* A processor that still sees the rule may add one: what is left goes in hold_end(). */
	return r < 0 ? r : let_all_go(&h->departing);
}

int hold_silence(struct hold *h)
{
	struct nft_batch b;

	nft_begin(&b, &h->nft);
	for (size_t i = 0; i < FAMILIES; i++)
		if (has_table(h, families[i])) {
			put_unseen(&b, families[i]);
			put_rule(&b, families[i], "departures", NFT_JUMP, "silence");
		}
	if (h->what.own_network)
		put_rule(&b, NFPROTO_ARP, "replies", NFT_JUMP, "mute");
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
	return queue_take(&h->queue, f, ctx);
}

/* All that is kept, at the application's pace. How many, or -errno. */
static int let_go(struct hold *h, struct sockets_pace *pace)
{
	int r = queue_take(&h->queue, NULL, NULL);
	int kept = (int)queue_kept(&h->queue);

	while (r >= 0 && (r = queue_decide(&h->queue, NF_ACCEPT, SOCKETS_BURST)) > 0)
		sockets_wait_room(pace);
	sockets_wait_room(pace);
	return r < 0 ? r : kept;
}

/* And what has come meanwhile, as long as that gets less: there may never be nothing. */
static int let_go_most(struct hold *h)
{
	struct sockets_pace pace = sockets_pace(&h->what);
	int before = INT_MAX, now = let_go(h, &pace);

	while (now >= 0 && now < before && now > SOCKETS_BURST && !deadline_passed(pace.deadline)) {
		before = now;
		now = let_go(h, &pace);
	}
	return now < 0 ? now : 0;
}

static int let_go_late(struct hold *h)
{
	uint64_t before = h->queue.taken;
	int r = let_all_go(&h->queue);

	h->late += h->queue.taken - before;
	return r;
}

/* What waits when the rules go is overtaken by what comes before its verdict does. On a busy host another
 * thread could be given the processor in between, and a moment became milliseconds. */
static int end_rules(struct hold *h)
{
	struct nft_batch b;
	int before, r;

	nft_begin(&b, &h->nft);
	for (size_t i = 0; i < FAMILIES; i++)
		if (has_table(h, families[i])) {
			nft_flush(&b, families[i], "arrivals");
			flush_silence(&b, families[i]);
		}
	before = thread_hurry();
	r = let_all_go(&h->queue);
	if (r == 0)
		r = nft_commit(&b, &h->nft);
	if (r == 0)
		r = let_go_late(h);
	thread_hurry_end(before);
	return r;
}

int hold_end(struct hold *h)
{
	int r = let_all_go(&h->departing);

	if (r == 0)
		r = let_go_most(h);
	if (r == 0)
		r = end_rules(h);
	while (r == 0 && (r = fd_wait(hold_fd(h), POLLIN, deadline_in_ms(GRACE_MS))) == 0)
		r = let_go_late(h);
	return r == -ETIMEDOUT ? 0 : r;
}

struct hold_stats hold_stats(const struct hold *h)
{
	if (!h)
		return (struct hold_stats){0};
	return (struct hold_stats){
		.held = h->queue.taken,
		.overflow = queue_overflow(&h->queue) + h->queue.cut,
		.late = h->late,
	};
}
