/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The little of nf_tables that godwit needs, spoken to the kernel directly (linux/netfilter/
 * nf_tables.h): tables with chains and rules, changed in transactions.
 *
 * Tables are made with the flag "owner": they vanish with the socket that made them, so with this
 * process, however it ends, and nobody else can change them. Linux 5.12 and newer.
 */

struct nft {
	struct mnl_socket *socket; /* owned; and it owns the tables */
	char table[32];		   /* the name of each table, one a family */
};

int nft_open(struct nft *n, const char *table);
/* And all of its tables are gone. */
void nft_close(struct nft *n);

/* A transaction: what is added to it happens at once and as a whole in nft_commit(). */
struct nft_batch {
	uint8_t room[32768] __attribute__((aligned(8)));
	size_t len;
	uint32_t sequence;
	const char *table;
	/* what a rule under construction needs */
	struct nlmsghdr *rule;
	struct nlattr *expressions;
};

void nft_begin(struct nft_batch *b, const struct nft *n);
/* 0 or -errno: nothing has changed then. */
int nft_commit(struct nft_batch *b, struct nft *n);

/* @family: NFPROTO_IPV4, NFPROTO_IPV6 or NFPROTO_ARP. */
void nft_table(struct nft_batch *b, uint8_t family);
void nft_table_delete(struct nft_batch *b, uint8_t family);
/* One that the kernel calls at @hook, and where nothing happens to a packet by default. */
void nft_base_chain(struct nft_batch *b, uint8_t family, const char *chain, unsigned hook, int priority);
void nft_chain(struct nft_batch *b, uint8_t family, const char *chain);
/* Removes all rules of a chain. */
void nft_flush(struct nft_batch *b, uint8_t family, const char *chain);

/* A rule: its conditions, then what is done when all of them hold. */
void nft_rule(struct nft_batch *b, uint8_t family, const char *chain);
/* Bytes of a header, or (@negate) their absence. @base: NFT_PAYLOAD_*_HEADER. */
void nft_if_bytes(struct nft_batch *b, unsigned base, unsigned offset, const void *bytes, size_t len,
	bool negate);
/* A number that the kernel keeps with a packet: NFT_META_IIF, NFT_META_OIF, NFT_META_MARK. */
void nft_if_meta(struct nft_batch *b, unsigned key, uint32_t value);
/* @code: NF_DROP, NFT_RETURN, or NFT_JUMP to @chain. */
void nft_then(struct nft_batch *b, int code, const char *chain);
/* Into a queue of nfnetlink_queue; by its older way when the kernel lacks the newer one. */
void nft_then_queue(struct nft_batch *b, uint16_t number, bool older);
void nft_rule_end(struct nft_batch *b);
