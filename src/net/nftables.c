/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nftables.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int nft_open(struct nft *n, const char *table)
{
	n->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!n->socket)
		return -errno;
	snprintf(n->table, sizeof(n->table), "%s", table);
	return mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
}

void nft_close(struct nft *n)
{
	if (n->socket)
		mnl_socket_close(n->socket);
	n->socket = NULL;
}

/* --- messages ------------------------------------------------------------------------------- */

static struct nlmsghdr *put_message(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family,
	uint16_t resource)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(b->room + b->len);
	struct nfgenmsg *g;

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = b->sequence++;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	*g = (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
	return h;
}

static struct nlmsghdr *put_change(struct nft_batch *b, unsigned what, uint16_t flags, uint8_t family)
{
	return put_message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), flags, family, 0);
}

static void message_done(struct nft_batch *b, const struct nlmsghdr *h)
{
	b->len += MNL_ALIGN(h->nlmsg_len);
}

static void put_number(struct nlmsghdr *h, uint16_t attribute, uint32_t value)
{
	mnl_attr_put_u32(h, attribute, htonl(value));
}

void nft_begin(struct nft_batch *b, const struct nft *n)
{
	memset(b->room, 0, sizeof(b->room)); /* there are gaps between attributes */
	b->len = 0;
	b->sequence = 1;
	b->table = n->table;
	message_done(b, put_message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

/* The kernel has done it all when the message is sent, and says nothing unless something failed. */
int nft_commit(struct nft_batch *b, struct nft *n)
{
	uint8_t said[8192] __attribute__((aligned(8)));
	int fd = mnl_socket_get_fd(n->socket), r = 0;
	ssize_t len;

	message_done(b, put_message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
	if (mnl_socket_sendto(n->socket, b->room, b->len) < 0)
		return -errno;
	while ((len = recv(fd, said, sizeof(said), MSG_DONTWAIT)) > 0)
		if (mnl_cb_run(said, (size_t)len, 0, 0, NULL, NULL) < 0 && r == 0)
			r = -errno;
	return r;
}

/* --- tables and chains ------------------------------------------------------------------------ */

void nft_table(struct nft_batch *b, uint8_t family)
{
	struct nlmsghdr *h = put_change(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, family);

	mnl_attr_put_strz(h, NFTA_TABLE_NAME, b->table);
	put_number(h, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
	message_done(b, h);
}

void nft_table_delete(struct nft_batch *b, uint8_t family)
{
	struct nlmsghdr *h = put_change(b, NFT_MSG_DELTABLE, 0, family);

	mnl_attr_put_strz(h, NFTA_TABLE_NAME, b->table);
	message_done(b, h);
}

static struct nlmsghdr *put_chain(struct nft_batch *b, uint8_t family, const char *chain)
{
	struct nlmsghdr *h = put_change(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, family);

	mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, b->table);
	mnl_attr_put_strz(h, NFTA_CHAIN_NAME, chain);
	return h;
}

void nft_base_chain(struct nft_batch *b, uint8_t family, const char *chain, unsigned hook, int priority)
{
	struct nlmsghdr *h = put_chain(b, family, chain);
	struct nlattr *nest = mnl_attr_nest_start(h, NFTA_CHAIN_HOOK);

	put_number(h, NFTA_HOOK_HOOKNUM, hook);
	put_number(h, NFTA_HOOK_PRIORITY, (uint32_t)priority);
	mnl_attr_nest_end(h, nest);
	put_number(h, NFTA_CHAIN_POLICY, NF_ACCEPT);
	mnl_attr_put_strz(h, NFTA_CHAIN_TYPE, "filter");
	message_done(b, h);
}

void nft_chain(struct nft_batch *b, uint8_t family, const char *chain)
{
	message_done(b, put_chain(b, family, chain));
}

void nft_flush(struct nft_batch *b, uint8_t family, const char *chain)
{
	struct nlmsghdr *h = put_change(b, NFT_MSG_DELRULE, 0, family);

	mnl_attr_put_strz(h, NFTA_RULE_TABLE, b->table);
	mnl_attr_put_strz(h, NFTA_RULE_CHAIN, chain);
	message_done(b, h);
}

/* --- rules ------------------------------------------------------------------------------------ */

void nft_rule(struct nft_batch *b, uint8_t family, const char *chain)
{
	b->rule = put_change(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, family);
	mnl_attr_put_strz(b->rule, NFTA_RULE_TABLE, b->table);
	mnl_attr_put_strz(b->rule, NFTA_RULE_CHAIN, chain);
	b->expressions = mnl_attr_nest_start(b->rule, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_end(struct nft_batch *b)
{
	mnl_attr_nest_end(b->rule, b->expressions);
	message_done(b, b->rule);
}

struct expression {
	struct nlattr *element, *data;
};

static struct expression expression_start(struct nft_batch *b, const char *name)
{
	struct expression x;

	x.element = mnl_attr_nest_start(b->rule, NFTA_LIST_ELEM);
	mnl_attr_put_strz(b->rule, NFTA_EXPR_NAME, name);
	x.data = mnl_attr_nest_start(b->rule, NFTA_EXPR_DATA);
	return x;
}

static void expression_end(struct nft_batch *b, struct expression x)
{
	mnl_attr_nest_end(b->rule, x.data);
	mnl_attr_nest_end(b->rule, x.element);
}

static void compare(struct nft_batch *b, const void *bytes, size_t len, bool negate)
{
	struct expression x = expression_start(b, "cmp");
	struct nlattr *nest;

	put_number(b->rule, NFTA_CMP_SREG, NFT_REG_1);
	put_number(b->rule, NFTA_CMP_OP, negate ? NFT_CMP_NEQ : NFT_CMP_EQ);
	nest = mnl_attr_nest_start(b->rule, NFTA_CMP_DATA);
	mnl_attr_put(b->rule, NFTA_DATA_VALUE, len, bytes);
	mnl_attr_nest_end(b->rule, nest);
	expression_end(b, x);
}

void nft_if_bytes(struct nft_batch *b, unsigned base, unsigned offset, const void *bytes, size_t len,
	bool negate)
{
	struct expression x = expression_start(b, "payload");

	put_number(b->rule, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_number(b->rule, NFTA_PAYLOAD_BASE, base);
	put_number(b->rule, NFTA_PAYLOAD_OFFSET, offset);
	put_number(b->rule, NFTA_PAYLOAD_LEN, (uint32_t)len);
	expression_end(b, x);
	compare(b, bytes, len, negate);
}

void nft_if_meta(struct nft_batch *b, unsigned key, uint32_t value)
{
	struct expression x = expression_start(b, "meta");

	put_number(b->rule, NFTA_META_DREG, NFT_REG_1);
	put_number(b->rule, NFTA_META_KEY, key);
	expression_end(b, x);
	compare(b, &value, sizeof(value), false);
}

void nft_then(struct nft_batch *b, int code, const char *chain)
{
	struct expression x = expression_start(b, "immediate");
	struct nlattr *data, *verdict;

	put_number(b->rule, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = mnl_attr_nest_start(b->rule, NFTA_IMMEDIATE_DATA);
	verdict = mnl_attr_nest_start(b->rule, NFTA_DATA_VERDICT);
	put_number(b->rule, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		mnl_attr_put_strz(b->rule, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(b->rule, verdict);
	mnl_attr_nest_end(b->rule, data);
	expression_end(b, x);
}

static void queue_by_xtables(struct nft_batch *b, uint16_t number)
{
	/* Its size is rounded up as XT_ALIGN() does in linux/netfilter/x_tables.h. */
	union {
		struct xt_NFQ_info info;
		uint64_t aligned;
	} target = {.aligned = 0};
	struct expression x = expression_start(b, "target");

	target.info.queuenum = number;
	mnl_attr_put_strz(b->rule, NFTA_TARGET_NAME, "NFQUEUE");
	put_number(b->rule, NFTA_TARGET_REV, 0);
	mnl_attr_put(b->rule, NFTA_TARGET_INFO, sizeof(target), &target);
	expression_end(b, x);
}

void nft_then_queue(struct nft_batch *b, uint16_t number, bool older)
{
	struct expression x;

	if (older) {
		queue_by_xtables(b, number);
		return;
	}
	x = expression_start(b, "queue");
	mnl_attr_put_u16(b->rule, NFTA_QUEUE_NUM, htons(number));
	mnl_attr_put_u16(b->rule, NFTA_QUEUE_TOTAL, htons(1));
	expression_end(b, x);
}
