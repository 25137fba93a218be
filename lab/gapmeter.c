/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gap meter: what a player sees of a migration, taken from the packets between the game
 * server and the player, outside of both.
 *
 *   gapmeter record INTERFACE SERVER PORT FILE   until SIGTERM: one record a packet
 *   gapmeter report FILE FROM TO                 seconds since the epoch; prints JSON
 *   gapmeter list FILE                           when each packet of the stream came, and its number
 *
 * A packet has come when the kernel has it, however late this program is woken.
 *
 * Sequence numbers are those of DarkPlaces' own datagrams: a packet of a connection starts with a
 * big-endian word of flags and length and a big-endian sequence number; the flag 0x00100000
 * marks the unreliable stream (one packet a frame), which counts by one a packet.
 */
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLAG_UNRELIABLE 0x00100000u
#define FLAG_CTL 0x80000000u

struct record {
	uint64_t at; /* ns since the epoch */
	uint32_t sequence;
	uint8_t from_server, unreliable;
	uint16_t bytes;
};

static uint64_t wall(void)
{
	return clock_ns(CLOCK_REALTIME);
}

static int parse(const uint8_t *p, size_t len, uint32_t server, uint16_t port, struct record *r)
{
	struct iphdr ip;
	struct udphdr udp;
	size_t at;
	uint32_t word = 0;

	if (len < sizeof(ip))
		return -1;
	memcpy(&ip, p, sizeof(ip));
	at = ip.ihl * 4u;
	if (ip.protocol != IPPROTO_UDP || len < at + sizeof(udp))
		return -1;
	memcpy(&udp, p + at, sizeof(udp));
	at += sizeof(udp);
	if (ip.saddr == server && ntohs(udp.source) == port)
		r->from_server = 1;
	else if (ip.daddr == server && ntohs(udp.dest) == port)
		r->from_server = 0;
	else
		return -1;
	r->bytes = ntohs(udp.len);
	r->sequence = 0;
	if (len >= at + 8) {
		memcpy(&word, p + at, 4);
		memcpy(&r->sequence, p + at + 4, 4);
	}
	word = ntohl(word);
	r->sequence = ntohl(r->sequence);
	r->unreliable = !(word & FLAG_CTL) && (word & FLAG_UNRELIABLE);
	return 0;
}

/* The next packet's length, and when it came, in ns since the epoch. */
static ssize_t take(int fd, uint8_t *packet, size_t size, uint64_t *ret_at)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(struct timespec))];
	} control;
	struct iovec iov = {packet, size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &m, 0);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);
	struct timespec ts;

	*ret_at = wall();
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		*ret_at = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	}
	return n;
}

static int record(char **argv)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	struct sigaction sa = {.sa_handler = on_signal};
	uint32_t server = inet_addr(argv[1]);
	int size = 4 << 20, yes = 1, fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL));
	FILE *out = fopen(argv[3], "w");

	at.sll_protocol = htons(ETH_P_ALL);
	at.sll_ifindex = (int)if_nametoindex(argv[0]);
	if (fd < 0 || !out || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		fprintf(stderr, "gapmeter: %s\n", strerror(errno));
		return 1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof(yes));
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	while (!ended) {
		uint8_t packet[256];
		struct record r = {0};
		ssize_t n = take(fd, packet, sizeof(packet), &r.at);

		if (n >= 0 && parse(packet, (size_t)n, server, (uint16_t)atoi(argv[2]), &r) == 0) {
			fwrite(&r, sizeof(r), 1, out);
			fflush(out);
		}
	}
	return fclose(out) != 0;
}

static FILE *open_records(const char *name)
{
	FILE *in = fopen(name, "r");

	if (!in)
		fprintf(stderr, "gapmeter: %s: %s\n", name, strerror(errno));
	return in;
}

static int list(char **argv)
{
	FILE *in = open_records(argv[0]);
	struct record r;

	if (!in)
		return 1;
	while (fread(&r, sizeof(r), 1, in) == 1)
		if (r.from_server && r.unreliable)
			printf("%.6f %u\n", (double)r.at / 1e9, r.sequence);
	fclose(in);
	return 0;
}

static int report(char **argv)
{
	FILE *in = open_records(argv[0]);
	uint64_t from = (uint64_t)(atof(argv[1]) * 1e9), to = (uint64_t)(atof(argv[2]) * 1e9);
	uint64_t last = 0, first = 0, gap = 0, gap_at = 0;
	uint32_t sequence = 0;
	unsigned long received = 0, sent = 0, lost = 0;
	struct record r;

	if (!in)
		return 1;
	while (fread(&r, sizeof(r), 1, in) == 1) {
		if (r.at < from || r.at > to)
			continue;
		if (!r.from_server) {
			sent++;
			continue;
		}
		if (!r.unreliable)
			continue;
		if (last && r.at - last > gap) {
			gap = r.at - last;
			gap_at = last;
		}
		if (last && r.sequence > sequence + 1)
			lost += r.sequence - sequence - 1;
		if (!first)
			first = r.at;
		sequence = r.sequence;
		last = r.at;
		received++;
	}
	fclose(in);
	/* Silence up to the end of the window is a gap too. */
	if (last && to > last && to - last > gap && to < wall()) {
		gap = to - last;
		gap_at = last;
	}
	printf("{\"gap_ms\": %.1f, \"gap_at\": %.3f, \"lost\": %lu, \"received\": %lu, "
	       "\"sent\": %lu, \"rate_hz\": %.1f}\n",
		received ? (double)gap / 1e6 : -1, (double)gap_at / 1e9, lost, received, sent,
		last > first ? (double)(received - 1) * 1e9 / (double)(last - first) : 0);
	return received == 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "record") == 0)
		return record(argv + 2);
	if (argc == 5 && strcmp(argv[1], "report") == 0)
		return report(argv + 2);
	if (argc == 3 && strcmp(argv[1], "list") == 0)
		return list(argv + 2);
	fprintf(stderr, "usage: gapmeter record INTERFACE SERVER PORT FILE\n"
			"       gapmeter report FILE FROM TO\n"
			"       gapmeter list FILE\n");
	return 2;
}
