/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer of the workload "echo", which counts what goes wrong between them. Prints JSON at the end.
 *
 *   peer udp ADDRESS PORT RATE         datagrams, RATE a second, until SIGTERM
 *   peer download ADDRESS PORT BYTES   as fast as it goes, every byte verified; 0: until SIGTERM
 *   peer idle ADDRESS PORT             a connection that says something every two seconds, until SIGTERM
 *   peer redis ADDRESS PORT MS         the same to a redis, every so many milliseconds
 */
#define _GNU_SOURCE
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_NS 2000000000ull /* for the last answers */
#define STALL_NS 30000000u
#define STALLS 256
#define SEQUENCES (1u << 22)

static uint64_t now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static int fail(const char *what)
{
	printf("{\"ok\": false, \"error\": \"%s: %s\"}\n", what, strerror(errno));
	return 1;
}

static int connect_to(const char *address, const char *port, int type)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	int size = 4 << 20, s = socket(is_v4 ? AF_INET : AF_INET6, type, 0);

	v4.sin_port = v6.sin6_port = htons((uint16_t)atoi(port));
	if (type == SOCK_DGRAM)
		setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (!is_v4)
		inet_pton(AF_INET6, address, &v6.sin6_addr);
	if (connect(s, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		    is_v4 ? sizeof(v4) : sizeof(v6)) < 0)
		return -1;
	return s;
}

/* --- udp -------------------------------------------------------------------------------------- */

struct counts {
	unsigned long sent, answered, lost_there, lost_back, twice, late_there, late_back;
	uint64_t gap; /* the longest silence between two answers, ns */
	uint8_t *seen; /* by our number: how many answers */
	uint64_t *order; /* by the server's number: ours, plus one */
	uint64_t first_server, highest_server, last;
};

static void count_answer(struct counts *c, const uint64_t words[2])
{
	uint64_t t = now();

	if (words[0] >= SEQUENCES || words[1] >= SEQUENCES)
		return;
	c->answered++;
	if (c->answered == 1)
		c->first_server = words[1];
	if (c->seen[words[0]]++)
		c->twice++;
	if (words[1] < c->highest_server)
		c->late_back++;
	else
		c->highest_server = words[1];
	c->order[words[1]] = words[0] + 1;
	if (c->last && t - c->last > c->gap)
		c->gap = t - c->last;
	c->last = t;
}

/* The server numbers what comes to it, not only ours before the first: in that order ours must grow, and
 * no number may be missing. */
static void count_orders(struct counts *c)
{
	uint64_t highest = 0;

	for (uint64_t i = c->first_server; i <= c->highest_server; i++) {
		if (!c->order[i]) {
			c->lost_back++;
			continue;
		}
		if (c->order[i] < highest)
			c->late_there++;
		else
			highest = c->order[i];
	}
	for (uint64_t i = 0; i < c->sent; i++)
		c->lost_there += !c->seen[i];
	c->lost_there -= c->lost_back < c->lost_there ? c->lost_back : c->lost_there;
}

static void take_answers(int s, struct counts *c, uint64_t until)
{
	for (;;) {
		uint64_t t = now(), words[2];
		struct pollfd p = {.fd = s, .events = POLLIN};
		struct timespec left = {0};

		if (t >= until)
			return;
		left.tv_sec = (time_t)((until - t) / 1000000000u);
		left.tv_nsec = (long)((until - t) % 1000000000u);
		if (ppoll(&p, 1, &left, NULL) > 0 &&
			recv(s, words, sizeof(words), MSG_DONTWAIT) == sizeof(words))
			count_answer(c, words);
	}
}

static int udp(char **argv)
{
	struct counts c = {.seen = calloc(SEQUENCES, 1), .order = calloc(SEQUENCES, sizeof(uint64_t))};
	uint64_t step = 1000000000u / (uint64_t)atoi(argv[2]), next = now();
	int s = connect_to(argv[0], argv[1], SOCK_DGRAM);

	if (s < 0 || !c.seen || !c.order)
		return fail("udp");
	while (!ended && c.sent < SEQUENCES) {
		/* A long datagram now and then. */
		uint64_t words[160] = {c.sent};

		/* An error is what a datagram before has met. */
		if (send(s, words, c.sent % 16 ? 64 : sizeof(words), 0) < 0 &&
			send(s, words, 64, 0) < 0)
			continue;
		c.sent++;
		next += step;
		take_answers(s, &c, next);
	}
	take_answers(s, &c, now() + SETTLE_NS);
	count_orders(&c);
	printf("{\"sent\": %lu, \"answered\": %lu, \"lost_there\": %lu, \"lost_back\": %lu, \"twice\": %lu, "
	       "\"late_there\": %lu, \"late_back\": %lu, \"gap_ms\": %.1f}\n",
		c.sent, c.answered, c.lost_there, c.lost_back, c.twice, c.late_there, c.late_back,
		(double)c.gap / 1e6);
	return 0;
}

/* --- tcp -------------------------------------------------------------------------------------- */

static uint8_t byte_at(uint64_t place)
{
	return (uint8_t)((place * 0x9e3779b97f4a7c15u) >> 56);
}

/* Silences of more than 30 ms are stalls; "at" is when they end, in seconds since 1970. */
static int download(char **argv)
{
	static uint8_t b[262144];
	uint64_t total = strtoull(argv[2], NULL, 10), place = 0, start = now(), last = start, stall = 0;
	uint64_t wanted = total ? total : UINT64_MAX;
	unsigned long wrong = 0, stalls = 0;
	struct {
		double at, ms;
	} each[STALLS];
	int s = connect_to(argv[0], argv[1], SOCK_STREAM);

	if (s < 0 || write(s, "d", 1) != 1 || write(s, &wanted, 8) != 8)
		return fail("connecting");
	while (place < wanted && !ended) {
		ssize_t n = read(s, b, sizeof(b));
		uint64_t t = now();

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(n < 0 ? "reading" : "closed early");
		if (t - last > stall)
			stall = t - last;
		if (t - last > STALL_NS && stalls < STALLS) {
			each[stalls].at = (double)clock_ns(CLOCK_REALTIME) / 1e9;
			each[stalls++].ms = (double)(t - last) / 1e6;
		}
		last = t;
		for (ssize_t i = 0; i < n; i++)
			wrong += b[i] != byte_at(place + (uint64_t)i);
		place += (uint64_t)n;
	}
	printf("{\"ok\": %s, \"bytes\": %llu, \"wrong\": %lu, \"stall_ms\": %.1f, \"mbit\": %.0f, "
	       "\"stalls\": [",
		wrong ? "false" : "true", (unsigned long long)place, wrong, (double)stall / 1e6,
		(double)place * 8e3 / (double)(now() - start));
	for (unsigned long i = 0; i < stalls; i++)
		printf("%s{\"at\": %.4f, \"ms\": %.1f}", i ? ", " : "", each[i].at, each[i].ms);
	puts("]}");
	return wrong != 0;
}

/* Says @say, and hears @expect. */
static bool is_answered(int s, const char *say, const char *expect)
{
	char heard[64];
	size_t n = strlen(expect);

	return write(s, say, strlen(say)) == (ssize_t)strlen(say) &&
		recv(s, heard, n, MSG_WAITALL) == (ssize_t)n && memcmp(heard, expect, n) == 0;
}

static int idle(char **argv, bool redis, int pause_ms)
{
	int s = connect_to(argv[0], argv[1], SOCK_STREAM);
	struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};
	unsigned long said = 0;
	uint64_t longest = 0;

	if (s < 0 || (!redis && write(s, "e", 1) != 1))
		return fail("connecting");
	while (!ended) {
		char say[32], expect[64];
		uint64_t start = now(), waited;

		snprintf(say, sizeof(say), redis ? "ECHO %08lu\r\n" : "%08lu", said);
		snprintf(expect, sizeof(expect), redis ? "$8\r\n%08lu\r\n" : "%08lu", said);
		if (!is_answered(s, say, expect)) {
			if (ended) /* in the middle of it */
				break;
			return fail("echo");
		}
		waited = now() - start;
		longest = waited > longest ? waited : longest;
		said++;
		nanosleep(&pause, NULL);
	}
	printf("{\"ok\": true, \"said\": %lu, \"longest_ms\": %.1f}\n", said, (double)longest / 1e6);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (argc == 5 && strcmp(argv[1], "udp") == 0 && atoi(argv[4]) > 0)
		return udp(argv + 2);
	if (argc == 5 && strcmp(argv[1], "download") == 0)
		return download(argv + 2);
	if (argc == 4 && strcmp(argv[1], "idle") == 0)
		return idle(argv + 2, false, 2000);
	if (argc == 5 && strcmp(argv[1], "redis") == 0 && atoi(argv[4]) > 0)
		return idle(argv + 2, true, atoi(argv[4]));
	fprintf(stderr, "usage: peer udp ADDRESS PORT RATE | download ADDRESS PORT BYTES | idle ADDRESS PORT |\n"
			"       redis ADDRESS PORT MS\n");
	return 2;
}
