/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that are held, let go, and delivered elsewhere: each test in a network of its own, with
 * the addresses of both families on its loopback interface. One that may not be made skips the test.
 */
#include "unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "net/hold.h"
#include "net/inject.h"
#include "net/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 4000
#define PACKETS 20

struct net {
	struct address a;
	struct reached reached;
	int server, client;
};

static struct sockaddr_storage endpoint(const struct address *a, uint16_t port, socklen_t *ret_len)
{
	struct sockaddr_storage s = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&s;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s;

	s.ss_family = a->family;
	if (a->family == AF_INET) {
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, a->bytes, 4);
	} else {
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, a->bytes, 16);
	}
	*ret_len = a->family == AF_INET ? sizeof(*v4) : sizeof(*v6);
	return s;
}

static void raise_loopback(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq req = {.ifr_name = "lo"};

	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
	req.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &req), 0);
}

static struct net net_new(const char *address)
{
	struct err e = ERR_INIT;
	struct net n = {.server = -1, .client = -1};
	struct sockaddr_storage at;
	socklen_t len;

	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) < 0)
		skip();
	raise_loopback();
	assert_int_equal(address_parse(address, &n.a, &e), 0);
	assert_int_equal(address_add(&n.a), 0);
	reached_add_address(&n.reached, &n.a);
	n.server = socket(n.a.family, SOCK_DGRAM, 0);
	n.client = socket(n.a.family, SOCK_DGRAM, 0);
	at = endpoint(&n.a, PORT, &len);
	assert_int_equal(bind(n.server, (struct sockaddr *)&at, len), 0);
	assert_int_equal(connect(n.client, (struct sockaddr *)&at, len), 0);
	return n;
}

static void net_done(struct net *n)
{
	fd_close(&n->server);
	fd_close(&n->client);
}

static void send_numbers(const struct net *n, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		assert_int_equal(send(n->client, &i, sizeof(i), 0), sizeof(i));
}

static void expect_numbers(const struct net *n, uint32_t from, uint32_t to)
{
	uint32_t v;

	for (uint32_t i = from; i < to; i++) {
		assert_int_equal(fd_wait(n->server, POLLIN, deadline_in_ms(1000)), 0);
		assert_int_equal(recv(n->server, &v, sizeof(v), MSG_DONTWAIT), sizeof(v));
		assert_int_equal(v, i);
	}
	assert_int_equal(recv(n->server, &v, sizeof(v), MSG_DONTWAIT), -1);
}

static struct hold *hold_or_skip(const struct net *n)
{
	struct err e = ERR_INIT;
	struct hold *h = NULL;

	/* A kernel without nf_tables, or one before 5.12. */
	if (hold_new(&n->reached, &h, &e) < 0) {
		print_message("%s\n", e.text);
		skip();
	}
	return h;
}

static void held_then_let_go(const char *address)
{
	struct net n = net_new(address);
	struct hold *h = hold_or_skip(&n);

	send_numbers(&n, 0, 5);
	expect_numbers(&n, 0, 5);
	assert_int_equal(hold_start(h, false), 0);
	send_numbers(&n, 5, 5 + PACKETS);
	expect_numbers(&n, 0, 0);
	assert_int_equal(hold_take(h, NULL, NULL), PACKETS);
	send_numbers(&n, 5 + PACKETS, 8 + PACKETS);
	assert_int_equal(hold_show(h), 0);
	assert_int_equal(hold_end(h), 0);
	expect_numbers(&n, 5, 8 + PACKETS);
	send_numbers(&n, 0, 5);
	expect_numbers(&n, 0, 5);
	assert_int_equal(hold_stats(h).held, PACKETS + 3);
	assert_int_equal(hold_stats(h).overflow, 0);
	hold_free(h);
	net_done(&n);
}

static void test_held_v4(void **state)
{
	(void)state;
	held_then_let_go("10.9.9.9/32 dev lo");
}

static void test_held_v6(void **state)
{
	(void)state;
	held_then_let_go("fd09::9/128 dev lo");
}

#define MANY 1000 /* of which a socket's queue has room for some fifty */

/* An application that has just been thawed: counts what comes in order. */
static void *read_late(void *ctx)
{
	const struct net *n = ctx;
	uint32_t v[350], count = 0;

	usleep(50000);
	while (fd_wait(n->server, POLLIN, deadline_in_ms(1000)) == 0)
		if (recv(n->server, v, sizeof(v), MSG_DONTWAIT) == sizeof(v) && v[0] == count)
			count++;
	return (void *)(uintptr_t)count;
}

/* Some of them have been taken for another host, some not. */
static void test_let_go_at_the_applications_pace(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	struct hold *h = hold_or_skip(&n);
	uint32_t v[350] = {0};
	pthread_t reader;
	void *count;

	(void)state;
	assert_int_equal(hold_start(h, false), 0);
	for (v[0] = 0; v[0] < MANY; v[0]++) {
		assert_int_equal(send(n.client, v, sizeof(v), 0), sizeof(v));
		if (v[0] == MANY / 2)
			assert_int_equal(hold_take(h, NULL, NULL), MANY / 2 + 1);
	}
	assert_int_equal(pthread_create(&reader, NULL, read_late, &n), 0);
	assert_int_equal(hold_end(h), 0);
	pthread_join(reader, &count);
	assert_int_equal((uintptr_t)count, MANY);
	hold_free(h);
	net_done(&n);
}

struct flood {
	const struct net *n;
	atomic_bool over;
};

#define FLOOD_NS 20000

/* For some seconds at most. Their socket's queue overflows: nobody reads it. */
static void *flood(void *ctx)
{
	uint64_t deadline = deadline_in_ms(5000);
	struct flood *f = ctx;
	uint32_t v = 0;

	while (!atomic_load(&f->over) && !deadline_passed(deadline)) {
		uint64_t next = clock_now() + FLOOD_NS;

		send(f->n->client, &v, sizeof(v), 0);
		while (!deadline_passed(next))
			;
	}
	atomic_store(&f->over, true);
	return NULL;
}

/* There is never a moment in which none is kept. */
static void test_let_go_while_more_come(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	struct hold *h = hold_or_skip(&n);
	struct flood f = {.n = &n};
	int least = 1; /* so that there is always room, as the pace sees it */
	pthread_t sender;

	(void)state;
	assert_int_equal(setsockopt(n.server, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
	assert_int_equal(hold_start(h, false), 0);
	assert_int_equal(pthread_create(&sender, NULL, flood, &f), 0);
	usleep(5000);
	assert_int_equal(hold_end(h), 0);
	assert_false(atomic_exchange(&f.over, true));
	pthread_join(sender, NULL);
	hold_free(h);
	net_done(&n);
}

struct packets {
	uint8_t bytes[PACKETS][256];
	size_t len[PACKETS], n;
};

static int keep(void *ctx, const void *packet, size_t len)
{
	struct packets *p = ctx;

	assert_true(p->n < PACKETS && len <= sizeof(p->bytes[0]));
	memcpy(p->bytes[p->n], packet, len);
	p->len[p->n++] = len;
	return 0;
}

/* They are dropped where they were held and delivered as if by another host, while the hold stands. */
static void injected(const char *address)
{
	struct net n = net_new(address);
	struct hold *h = hold_or_skip(&n);
	int injector = injector_open(&n.a);
	struct packets p = {.n = 0};
	uint64_t held;

	assert_true(injector >= 0);
	assert_int_equal(hold_start(h, false), 0);
	send_numbers(&n, 0, PACKETS);
	assert_int_equal(hold_take(h, keep, &p), PACKETS);
	held = hold_stats(h).held;
	for (size_t i = 0; i < p.n; i++)
		assert_int_equal(inject(injector, &n.a, p.bytes[i], p.len[i]), 0);
	expect_numbers(&n, 0, PACKETS);
	assert_int_equal(hold_take(h, NULL, NULL), 0);
	assert_int_equal(hold_stats(h).held, held);
	hold_free(h);
	/* What was held and not let go is gone with it. */
	expect_numbers(&n, 0, 0);
	fd_close(&injector);
	net_done(&n);
}

static void test_injected_v4(void **state)
{
	(void)state;
	injected("10.9.9.9/32 dev lo");
}

static void test_injected_v6(void **state)
{
	(void)state;
	injected("fd09::9/128 dev lo");
}

/* 20 bytes of header, 8 of UDP without checksum, 4 of data, from a network that this host doesn't know. */
static size_t foreign_packet(const struct address *to, uint8_t ret[static 32], uint32_t number)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .tot_len = htons(32), .ttl = 60, .protocol = IPPROTO_UDP,
		.saddr = inet_addr("192.0.2.77")};
	struct udphdr udp = {.source = htons(999), .dest = htons(PORT), .len = htons(12)};

	memcpy(&ip.daddr, to->bytes, 4);
	memcpy(ret, &ip, sizeof(ip));
	memcpy(ret + 20, &udp, sizeof(udp));
	memcpy(ret + 28, &number, sizeof(number));
	return 32;
}

static void test_injected_from_afar(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	int injector = injector_open(&n.a);
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint8_t packet[32];
	uint32_t v;

	(void)state;
	assert_int_equal(inject(injector, &n.a, packet, foreign_packet(&n.a, packet, 7)), 0);
	assert_int_equal(fd_wait(n.server, POLLIN, deadline_in_ms(1000)), 0);
	assert_int_equal(recvfrom(n.server, &v, sizeof(v), 0, (struct sockaddr *)&from, &len), sizeof(v));
	assert_int_equal(v, 7);
	assert_int_equal(from.sin_addr.s_addr, inet_addr("192.0.2.77"));
	assert_int_equal(ntohs(from.sin_port), 999);
	fd_close(&injector);
	net_done(&n);
}

static void test_only_for_the_address(void **state)
{
	struct address a, b, v6;
	struct err e = ERR_INIT;
	uint8_t p[40] = {0};

	(void)state;
	address_parse("10.9.9.9/32 dev lo", &a, &e);
	address_parse("10.9.9.8/32 dev lo", &b, &e);
	address_parse("fd09::9/128 dev lo", &v6, &e);
	foreign_packet(&a, p, 0);
	assert_true(inject_valid(&a, p, 32));
	assert_int_equal(*(const uint32_t *)inject_sender(&a, p), inet_addr("192.0.2.77"));
	assert_false(inject_valid(&b, p, 32));
	assert_false(inject_valid(&v6, p, 32));
	assert_false(inject_valid(&a, p, 31));
	assert_false(inject_valid(&a, p, 33));
	assert_false(inject_valid(&a, p, 1));
	assert_false(inject_valid(&a, p, 0));
	p[9] = IPPROTO_ICMP;
	assert_false(inject_valid(&a, p, 32));
	foreign_packet(&a, p, 0);
	p[0] = 0x44;
	assert_false(inject_valid(&a, p, 32));
	p[0] = 0x4f;
	assert_false(inject_valid(&a, p, 32));
	memset(p, 0, sizeof(p));
	p[0] = 0x60;
	p[6] = IPPROTO_UDP;
	memcpy(p + 24, v6.bytes, 16);
	assert_true(inject_valid(&v6, p, 40));
	assert_false(inject_valid(&v6, p, 39));
	p[5] = 1;
	assert_false(inject_valid(&v6, p, 40));
}

/* Sent while it was unseen: nothing leaves before it is shown, and all of it then. */
static void test_unseen(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	struct hold *h = hold_or_skip(&n);

	(void)state;
	assert_int_equal(hold_start(h, true), 0);
	send_numbers(&n, 0, 3);
	assert_int_equal(hold_take(h, NULL, NULL), 0);
	assert_int_equal(hold_show(h), 0);
	assert_int_equal(hold_take(h, NULL, NULL), 3);
	assert_int_equal(hold_end(h), 0);
	expect_numbers(&n, 0, 3);
	hold_free(h);
	net_done(&n);
}

static void test_silent(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	struct hold *h = hold_or_skip(&n);
	uint32_t v = 0;

	(void)state;
	assert_int_equal(hold_silence(h), 0);
	assert_int_equal(send(n.client, &v, sizeof(v), 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(hold_end(h), 0);
	send_numbers(&n, 0, 1);
	expect_numbers(&n, 0, 1);
	hold_free(h);
	net_done(&n);
}

/* Two migrations at a time have each their own; one's end doesn't end the other's. */
static void test_rules_go_with_their_hold(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	struct hold *h = hold_or_skip(&n);

	(void)state;
	assert_int_equal(hold_start(h, false), 0);
	hold_free(h);
	send_numbers(&n, 0, 3);
	expect_numbers(&n, 0, 3);
	h = hold_or_skip(&n);
	assert_int_equal(hold_start(h, false), 0);
	assert_int_equal(hold_end(h), 0);
	hold_free(h);
	net_done(&n);
}

static void test_what_waits_in_sockets(void **state)
{
	struct net n = net_new("10.9.9.9/32 dev lo");
	int listener = socket(AF_INET, SOCK_STREAM, 0), peer = socket(AF_INET, SOCK_STREAM, 0), taken;
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_storage to;
	struct sockets s;
	socklen_t len;

	(void)state;
	if (sockets_look(&n.reached, &s) < 0)
		skip();
	assert_int_equal(s.datagram_bytes + s.accepting + s.connections, 0);
	send_numbers(&n, 0, 2);
	assert_int_equal(sockets_look(&n.reached, &s), 0);
	assert_true(s.datagram_bytes >= 8);
	expect_numbers(&n, 0, 2);
	assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(listener, 5), 0);
	to = endpoint(&n.a, PORT, &len);
	assert_int_equal(connect(peer, (struct sockaddr *)&to, len), 0);
	assert_int_equal(sockets_look(&n.reached, &s), 0);
	assert_int_equal(s.datagram_bytes, 0);
	/* It is bound to any address: whose it is tells its port. */
	assert_int_equal(s.accepting, 0);
	reached_add_port(&n.reached, PORT);
	assert_int_equal(sockets_look(&n.reached, &s), 0);
	assert_int_equal(s.accepting, 1);
	taken = accept(listener, NULL, NULL);
	assert_int_equal(sockets_look(&n.reached, &s), 0);
	assert_int_equal(s.accepting, 0);
	/* Both of its ends are here. */
	assert_int_equal(s.connections, 2);
	fd_close(&taken);
	fd_close(&peer);
	fd_close(&listener);
	net_done(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_v4),
		cmocka_unit_test(test_held_v6),
		cmocka_unit_test(test_let_go_at_the_applications_pace),
		cmocka_unit_test(test_let_go_while_more_come),
		cmocka_unit_test(test_injected_v4),
		cmocka_unit_test(test_injected_v6),
		cmocka_unit_test(test_injected_from_afar),
		cmocka_unit_test(test_only_for_the_address),
		cmocka_unit_test(test_unseen),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_rules_go_with_their_hold),
		cmocka_unit_test(test_what_waits_in_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
