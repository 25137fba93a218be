/* SPDX-License-Identifier: Apache-2.0 */
/* Who may take how much of a host: agent/quota.c. */
#include "unit.h"

#include "agent/quota.h"

#include <arpa/inet.h>
#include <string.h>

#define CLIENTS 40

static struct in6_addr origin(const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return quota_origin((struct sockaddr *)&v4);
	assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	return quota_origin((struct sockaddr *)&v6);
}

static void an_origin_is_what_one_user_has(void **state)
{
	struct in6_addr a = origin("10.0.0.1"), mapped = origin("::ffff:10.0.0.1");
	struct in6_addr one = origin("fd00::1"), other = origin("fd00::ffff:0:0:1"), far = origin("fd00:0:0:1::1");

	(void)state;
	assert_memory_equal(&a, &mapped, sizeof(a));
	assert_memory_equal(&one, &other, sizeof(one));
	assert_memory_not_equal(&one, &far, sizeof(one));
}

static void strangers_are_few_from_one_address(void **state)
{
	struct quota q = QUOTA_DEFAULT;
	struct client v[CLIENTS] = {0};
	struct in6_addr flood = origin("10.0.0.1"), honest = origin("10.0.0.2");

	(void)state;
	for (unsigned i = 0; i < q.handshakes_per_address; i++) {
		assert_true(quota_admits(&q, v, i, &flood));
		v[i].from = flood;
	}
	assert_false(quota_admits(&q, v, q.handshakes_per_address, &flood));
	assert_true(quota_admits(&q, v, q.handshakes_per_address, &honest));
	/* Those that have shown who they are don't count. */
	v[3].known = true;
	assert_true(quota_admits(&q, v, q.handshakes_per_address, &flood));
}

static void the_oldest_stranger_gives_way(void **state)
{
	struct quota q = QUOTA_DEFAULT;
	struct client v[CLIENTS] = {0};

	(void)state;
	for (unsigned i = 0; i < q.handshakes; i++)
		v[i].since = 1000 - i;
	assert_int_equal(quota_surplus(&q, v, q.handshakes - 1), q.handshakes - 1);
	assert_int_equal(quota_surplus(&q, v, q.handshakes), q.handshakes - 1);
	v[q.handshakes - 1].known = true;
	v[q.handshakes] = (struct client){.since = 5000};
	assert_int_equal(quota_surplus(&q, v, q.handshakes + 1), q.handshakes - 2);
}

static enum guest_answer ask(const struct quota *q, struct client *v, size_t at, uint8_t key, bool migrates,
	uint64_t memory)
{
	struct guest_request r = {.key = {key}, .migrates = migrates, .memory_bytes = memory};

	return quota_answer(q, v, CLIENTS, at, &r);
}

static void migrations_are_counted(void **state)
{
	struct quota q = {.handshakes = 1, .handshakes_per_address = 1, .migrations = 3,
		.migrations_per_peer = 2, .memory_bytes = 1000};
	struct client v[CLIENTS] = {0};

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ask(&q, v, i, i < 3 ? 1 : 2, false, 0), GUEST_WELCOME);
	assert_int_equal(ask(&q, v, 0, 1, true, 400), GUEST_WELCOME);
	assert_int_equal(ask(&q, v, 1, 1, true, 700), GUEST_MUCH_MEMORY);
	assert_int_equal(ask(&q, v, 1, 1, true, UINT64_MAX), GUEST_MUCH_MEMORY);
	assert_int_equal(ask(&q, v, 1, 1, true, 600), GUEST_WELCOME);
	assert_int_equal(ask(&q, v, 2, 1, true, 0), GUEST_MANY_OF_THE_PEER);
	assert_int_equal(ask(&q, v, 3, 2, true, 0), GUEST_WELCOME);
	assert_int_equal(ask(&q, v, 4, 3, false, 0), GUEST_WELCOME);
	assert_int_equal(ask(&q, v, 4, 3, true, 0), GUEST_MANY_MIGRATIONS);
	/* One that asks again is not counted twice. */
	assert_int_equal(ask(&q, v, 3, 2, true, 0), GUEST_WELCOME);
}

static void connections_of_a_peer_are_counted(void **state)
{
	struct quota q = QUOTA_DEFAULT;
	struct client v[CLIENTS] = {0};

	(void)state;
	for (size_t i = 0; i < QUOTA_CONNECTIONS_PER_PEER; i++)
		assert_int_equal(ask(&q, v, i, 1, false, 0), GUEST_WELCOME);
	assert_int_equal(ask(&q, v, QUOTA_CONNECTIONS_PER_PEER, 1, false, 0), GUEST_MANY_CONNECTIONS);
	assert_false(v[QUOTA_CONNECTIONS_PER_PEER].known);
	assert_int_equal(ask(&q, v, QUOTA_CONNECTIONS_PER_PEER, 2, false, 0), GUEST_WELCOME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_origin_is_what_one_user_has),
		cmocka_unit_test(strangers_are_few_from_one_address),
		cmocka_unit_test(the_oldest_stranger_gives_way),
		cmocka_unit_test(migrations_are_counted),
		cmocka_unit_test(connections_of_a_peer_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
