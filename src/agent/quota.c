/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/quota.h"

#include <string.h>

struct in6_addr quota_origin(const struct sockaddr *from)
{
	struct in6_addr r = {0};

	if (from->sa_family == AF_INET) {
		r.s6_addr[10] = r.s6_addr[11] = 0xff;
		memcpy(&r.s6_addr[12], &((const struct sockaddr_in *)from)->sin_addr, 4);
	} else if (from->sa_family == AF_INET6) {
		r = ((const struct sockaddr_in6 *)from)->sin6_addr;
		if (!IN6_IS_ADDR_V4MAPPED(&r))
			memset(&r.s6_addr[8], 0, 8);
	}
	return r;
}

bool quota_admits(const struct quota *q, const struct client *v, size_t n, const struct in6_addr *from)
{
	unsigned there = 0;

	for (size_t i = 0; i < n; i++)
		there += !v[i].known && memcmp(&v[i].from, from, sizeof(*from)) == 0;
	return there < q->handshakes_per_address;
}

size_t quota_surplus(const struct quota *q, const struct client *v, size_t n)
{
	size_t oldest = n;
	unsigned strangers = 0;

	for (size_t i = 0; i < n; i++) {
		if (v[i].known)
			continue;
		strangers++;
		if (oldest == n || v[i].since < v[oldest].since)
			oldest = i;
	}
	return strangers >= q->handshakes ? oldest : n;
}

static enum guest_answer judge_migration(const struct quota *q, const struct client *v, size_t n, size_t at,
	uint64_t memory_bytes)
{
	unsigned all = 0, of_peer = 0;
	uint64_t memory = memory_bytes;

	for (size_t i = 0; i < n; i++) {
		if (i == at || !v[i].migrates)
			continue;
		all++;
		of_peer += memcmp(v[i].key, v[at].key, FINGERPRINT_LEN) == 0;
		if (__builtin_add_overflow(memory, v[i].memory_bytes, &memory))
			memory = UINT64_MAX;
	}
	if (all >= q->migrations)
		return GUEST_MANY_MIGRATIONS;
	if (of_peer >= q->migrations_per_peer)
		return GUEST_MANY_OF_THE_PEER;
	return memory > q->memory_bytes ? GUEST_MUCH_MEMORY : GUEST_WELCOME;
}

static enum guest_answer enter(struct client *v, size_t n, size_t at, const uint8_t key[static FINGERPRINT_LEN])
{
	unsigned there = 0;

	for (size_t i = 0; i < n; i++)
		there += i != at && v[i].known && memcmp(v[i].key, key, FINGERPRINT_LEN) == 0;
	if (there >= QUOTA_CONNECTIONS_PER_PEER)
		return GUEST_MANY_CONNECTIONS;
	v[at].known = true;
	memcpy(v[at].key, key, FINGERPRINT_LEN);
	return GUEST_WELCOME;
}

enum guest_answer quota_answer(const struct quota *q, struct client *v, size_t n, size_t at,
	const struct guest_request *request)
{
	enum guest_answer answer;

	if (!request->migrates)
		return enter(v, n, at, request->key);
	answer = judge_migration(q, v, n, at, request->memory_bytes);
	v[at].migrates = answer == GUEST_WELCOME;
	v[at].memory_bytes = v[at].migrates ? request->memory_bytes : 0;
	return answer;
}
