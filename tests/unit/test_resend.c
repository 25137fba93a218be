/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What peers of restored connections lack. Both ends of the connections are here, in a network of the
 * test's own; what one has "sent" in repair mode the other never got. A network that may not be made
 * skips the test.
 */
#include "unit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/ranges.h"
#include "net/inject.h"
#include "net/repair.h"
#include "net/resend.h"
#include "net/segment.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PORT 4000
#define LARGEST 1000 /* segment, of which its times take 12 bytes */
#define PAYLOAD (LARGEST - 12)
#define SENT 40000
#define UNKNOWN_PROTOCOL 253 /* for experiments (RFC 3692) */

struct pair {
	int restored, peer;
	struct sockaddr_in local, remote; /* the restored one's, and the peer's */
	uint32_t first; /* number of what is sent next */
};

static void own_network(void)
{
	struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	_cleanup_close_ int fd = -1;

	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) < 0)
		skip();
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &req), 0);
}

static void set(int fd, int option, int value)
{
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value)), 0);
}

static struct pair pair_new(int family)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr *at = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t len = family == AF_INET ? sizeof(v4) : sizeof(v6), own = sizeof(struct sockaddr_in);
	_cleanup_close_ int listener = socket(family, SOCK_STREAM, 0);
	struct pair p = {.peer = socket(family, SOCK_STREAM, 0)};
	int room = SENT * 4;

	set(listener, TCP_MAXSEG, LARGEST);
	set(p.peer, TCP_MAXSEG, LARGEST);
	assert_int_equal(bind(listener, at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(connect(p.peer, at, len), 0);
	p.restored = accept(listener, NULL, NULL);
	assert_true(p.restored >= 0);
	setsockopt(p.restored, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (family == AF_INET) {
		getsockname(p.restored, (struct sockaddr *)&p.local, &own);
		getpeername(p.restored, (struct sockaddr *)&p.remote, &own);
	}
	return p;
}

/* As CRIU does it: nothing leaves, and the kernel takes it for sent. */
static void send_into_nothing(struct pair *p, const void *data, size_t size)
{
	socklen_t len = sizeof(p->first);

	set(p->restored, TCP_REPAIR, TCP_REPAIR_ON);
	set(p->restored, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
	assert_int_equal(getsockopt(p->restored, IPPROTO_TCP, TCP_QUEUE_SEQ, &p->first, &len), 0);
	assert_int_equal(send(p->restored, data, size, 0), size);
}

static void pair_done(struct pair *p)
{
	fd_close(&p->restored);
	fd_close(&p->peer);
}

static void sent_for_real(int family)
{
	struct pair p;
	struct address a = {.family = (uint8_t)family};
	struct resend *r = NULL;
	char got[16] = "";
	int injectors[2] = {-1, -1};

	own_network();
	p = pair_new(family);
	send_into_nothing(&p, "lost", 4);
	assert_int_equal(resend_new(&r), 0);
	resend_look(r, getpid());
	/* Closed in that mode it is gone without a word: the kernel can't be who sends. */
	fd_close(&p.restored);
	injectors[family == AF_INET6] = injector_open(&a);
	assert_true(injectors[family == AF_INET6] >= 0);
	assert_int_equal(resend_send(r, injectors), 1);
	assert_int_equal(fd_wait(p.peer, POLLIN, deadline_in_ms(5000)), 0);
	assert_int_equal(recv(p.peer, got, sizeof(got), MSG_DONTWAIT), 4);
	assert_string_equal(got, "lost");
	fd_close(&injectors[family == AF_INET6]);
	resend_free(r);
	pair_done(&p);
}

static void test_sent_v4(void **state)
{
	(void)state;
	sent_for_real(AF_INET);
}

static void test_sent_v6(void **state)
{
	(void)state;
	sent_for_real(AF_INET6);
}

/* --- which part ------------------------------------------------------------------------------- */

static uint8_t byte_at(size_t place)
{
	return (uint8_t)(place * 0x9e3779b97f4a7c15u >> 56);
}

/* What the peer says: it has all before @acknowledged, and [sacks[0], sacks[1]), and so on. */
static void hear(struct resend *r, const struct pair *p, uint8_t flags, uint32_t acknowledged,
	const uint32_t *sacks, unsigned n_sacks)
{
	uint8_t b[128] = {0}, *tcp = b + sizeof(struct iphdr);
	size_t header = 20 + 4 + 8 * n_sacks;

	b[0] = 0x45;
	b[9] = IPPROTO_TCP;
	memcpy(b + 12, &p->remote.sin_addr, 4);
	memcpy(b + 16, &p->local.sin_addr, 4);
	memcpy(tcp, &p->remote.sin_port, 2);
	memcpy(tcp + 2, &p->local.sin_port, 2);
	put_be32(tcp + 8, p->first + acknowledged);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = flags;
	tcp[20] = tcp[21] = TCPOPT_NOP;
	tcp[22] = TCPOPT_SACK;
	tcp[23] = (uint8_t)(2 + 8 * n_sacks);
	for (unsigned i = 0; i < 2 * n_sacks; i++)
		put_be32(tcp + 24 + 4 * i, p->first + sacks[i]);
	resend_heard(r, b, sizeof(struct iphdr) + header);
}

/* Which bytes of what was sent were sent again; they come as the payload of another protocol, so that
 * the peer's kernel leaves them alone. */
static struct ranges sent_again(struct resend *r, const struct pair *p, unsigned *ret_segments)
{
	_cleanup_close_ int raw = socket(AF_INET, SOCK_RAW, UNKNOWN_PROTOCOL);
	int injectors[2] = {raw, -1};
	struct ranges got = RANGES_INIT;
	uint8_t b[4096];
	ssize_t n;

	assert_true(raw >= 0);
	*ret_segments = resend_send(r, injectors);
	while ((n = recv(raw, b, sizeof(b), MSG_DONTWAIT)) > 0) {
		const uint8_t *packet = b + sizeof(struct iphdr);
		size_t len = (size_t)n - sizeof(struct iphdr), place;
		struct segment s;

		assert_true(segment_parse(packet, len, &s));
		assert_true(s.acknowledges && s.has_time && !s.resets);
		assert_memory_equal(s.from, &p->local.sin_addr, 4);
		assert_int_equal(s.to_port, ntohs(p->remote.sin_port));
		place = s.sequence - p->first;
		for (size_t i = sizeof(struct iphdr) + 32; i < len; i++)
			assert_int_equal(packet[i], byte_at(place + i - sizeof(struct iphdr) - 32));
		ranges_add(&got, place, place + len - sizeof(struct iphdr) - 32);
	}
	return got;
}

static struct pair pair_that_lost(struct resend **ret)
{
	static uint8_t data[SENT];
	struct pair p;

	own_network();
	p = pair_new(AF_INET);
	for (size_t i = 0; i < SENT; i++)
		data[i] = byte_at(i);
	send_into_nothing(&p, data, sizeof(data));
	assert_int_equal(resend_new(ret), 0);
	resend_look(*ret, getpid());
	return p;
}

static void expect_ranges(const struct ranges *got, const struct range *expected, size_t n)
{
	assert_int_equal(got->n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(got->v[i].start, expected[i].start);
		assert_int_equal(got->v[i].end, expected[i].end);
	}
}

static void test_what_the_peer_lacks(void **state)
{
	static const uint32_t first[] = {10000, 15000}, second[] = {20000, 30000, 10000, 15000};
	/* One that is older, and none of the connection's. */
	static const uint32_t strange[] = {(uint32_t)-500, (uint32_t)-100, 100000, 200000, 30000, 20000};
	static const struct range expected[] = {
		{5000, 10000}, {15000, 20000}, {30000, 30000 + 10 * PAYLOAD}};
	struct resend *r = NULL;
	struct pair p = pair_that_lost(&r), other = p;
	struct ranges got;
	unsigned n;

	(void)state;
	hear(r, &p, TH_ACK, 5000, first, 1);
	hear(r, &p, TH_ACK, 5000, second, 2);
	hear(r, &p, TH_ACK, 2000, strange, 3);
	other.remote.sin_port ^= 1;
	hear(r, &other, TH_ACK, SENT, NULL, 0);
	got = sent_again(r, &p, &n);
	expect_ranges(&got, expected, 3);
	assert_int_equal(n, 6 + 6 + 10);
	ranges_done(&got);
	resend_free(r);
	pair_done(&p);
}

static void test_a_silent_peer_gets_little(void **state)
{
	static const struct range expected[] = {{0, 10 * PAYLOAD}};
	struct resend *r = NULL;
	struct pair p = pair_that_lost(&r);
	struct ranges got;
	unsigned n;

	(void)state;
	got = sent_again(r, &p, &n);
	expect_ranges(&got, expected, 1);
	ranges_done(&got);
	resend_free(r);
	pair_done(&p);
}

static void test_who_has_all_or_is_gone_gets_nothing(void **state)
{
	struct resend *r = NULL;
	struct pair p = pair_that_lost(&r);
	struct ranges got;
	unsigned n;

	(void)state;
	hear(r, &p, TH_ACK | TH_RST, 0, NULL, 0);
	got = sent_again(r, &p, &n);
	assert_int_equal(n + got.n, 0);
	resend_free(r);
	assert_int_equal(resend_new(&r), 0);
	resend_look(r, getpid());
	hear(r, &p, TH_ACK, SENT, NULL, 0);
	got = sent_again(r, &p, &n);
	assert_int_equal(n + got.n, 0);
	resend_free(r);
	pair_done(&p);
}

/* Of a living connection nothing is read, and a connection is left as it was. */
static void test_only_in_repair_mode(void **state)
{
	struct resend *r = NULL;
	struct pair p = pair_that_lost(&r);
	struct ranges got;
	socklen_t len = sizeof(int);
	int queue = 0;
	unsigned n;

	(void)state;
	assert_int_equal(getsockopt(p.restored, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, &len), 0);
	assert_int_equal(queue, TCP_SEND_QUEUE);
	resend_free(r);
	assert_int_equal(resend_new(&r), 0);
	set(p.restored, TCP_REPAIR, TCP_REPAIR_OFF);
	resend_look(r, getpid());
	got = sent_again(r, &p, &n);
	assert_int_equal(n + got.n, 0);
	resend_free(r);
	pair_done(&p);
}

/* The kernel tells the length of the whole queue. */
static void test_no_more_than_there_is_room_for(void **state)
{
	struct resend *r = NULL;
	struct pair p = pair_that_lost(&r);
	struct connection c;

	(void)state;
	assert_int_equal(connection_read(p.restored, SENT / 4, &c), 1);
	assert_int_equal(c.n_sent, SENT / 4);
	for (size_t i = 0; i < c.n_sent; i++)
		assert_int_equal(c.sent[i], byte_at(i));
	connection_done(&c);
	resend_free(r);
	pair_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sent_v4),
		cmocka_unit_test(test_sent_v6),
		cmocka_unit_test(test_what_the_peer_lacks),
		cmocka_unit_test(test_a_silent_peer_gets_little),
		cmocka_unit_test(test_who_has_all_or_is_gone_gets_nothing),
		cmocka_unit_test(test_only_in_repair_mode),
		cmocka_unit_test(test_no_more_than_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
