/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impair A B DELAY_MS JITTER_MS LOSS_PERCENT: a cable between two interfaces that delays, jitters
 * and loses frames, in both directions, without reordering. For kernels without netem.
 */
#define _GNU_SOURCE
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUEUE 16384 /* frames in flight in one direction: 100 ms of a gigabit */
#define FRAME 2048

struct frame {
	uint64_t due; /* ns, CLOCK_MONOTONIC */
	uint32_t len;
	uint8_t data[FRAME];
};

struct direction {
	int from, to;
	struct frame *q;
	size_t head, n;
	uint64_t last_due;
	uint64_t passed, lost, overflowed;
};

static uint64_t now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static int open_port(const char *name)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int size = 8 << 20, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));

	at.sll_ifindex = (int)if_nametoindex(name);
	if (fd < 0 || at.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		fprintf(stderr, "impair: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

static void take(struct direction *d, uint64_t delay, uint64_t jitter, double loss)
{
	for (int i = 0; i < 256; i++) {
		struct frame *f = &d->q[(d->head + d->n) % QUEUE];
		struct sockaddr_ll from;
		socklen_t len = sizeof(from);
		uint8_t spill[FRAME];
		ssize_t n = recvfrom(d->from, d->n < QUEUE ? f->data : spill, FRAME, MSG_TRUNC,
			(struct sockaddr *)&from, &len);

		if (n < 0)
			return;
		if (from.sll_pkttype == PACKET_OUTGOING || n > FRAME)
			continue;
		if (d->n == QUEUE) {
			d->overflowed++;
			continue;
		}
		if (loss > 0 && drand48() * 100 < loss) {
			d->lost++;
			continue;
		}
		f->len = (uint32_t)n;
		f->due = now() + delay + (uint64_t)(drand48() * (double)jitter);
		if (f->due < d->last_due)
			f->due = d->last_due;
		d->last_due = f->due;
		d->n++;
	}
}

static void give(struct direction *d)
{
	uint64_t t = now();

	while (d->n > 0 && d->q[d->head].due <= t) {
		struct frame *f = &d->q[d->head];

		if (send(d->to, f->data, f->len, 0) < 0 && (errno == EAGAIN || errno == ENOBUFS))
			return;
		d->passed++;
		d->head = (d->head + 1) % QUEUE;
		d->n--;
	}
}

/* Until the next frame is due; sub-millisecond, since poll(2) rounds too coarsely. */
static struct timespec next_due(const struct direction *d, size_t n)
{
	uint64_t t = now(), wait = 1000000000;

	for (size_t i = 0; i < n; i++)
		if (d[i].n > 0) {
			uint64_t due = d[i].q[d[i].head].due;
			uint64_t w = due > t ? due - t : 50000;

			if (w < wait)
				wait = w;
		}
	return (struct timespec){.tv_sec = (time_t)(wait / 1000000000),
		.tv_nsec = (long)(wait % 1000000000)};
}

int main(int argc, char **argv)
{
	struct direction d[2] = {0};
	uint64_t delay, jitter;
	double loss;

	if (argc != 6) {
		fprintf(stderr, "usage: impair A B DELAY_MS JITTER_MS LOSS_PERCENT\n");
		return 2;
	}
	delay = (uint64_t)(atof(argv[3]) * 1e6);
	jitter = (uint64_t)(atof(argv[4]) * 1e6);
	loss = atof(argv[5]);
	d[0].from = d[1].to = open_port(argv[1]);
	d[1].from = d[0].to = open_port(argv[2]);
	d[0].q = calloc(QUEUE, sizeof(struct frame));
	d[1].q = calloc(QUEUE, sizeof(struct frame));
	if (!d[0].q || !d[1].q)
		return 1;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	puts("ready");
	fflush(stdout);
	while (!ended) {
		struct pollfd p[2] = {{.fd = d[0].from, .events = POLLIN},
			{.fd = d[1].from, .events = POLLIN}};
		struct timespec wait = next_due(d, 2);

		if (ppoll(p, 2, &wait, NULL) < 0 && errno != EINTR)
			return 1;
		for (int i = 0; i < 2; i++) {
			take(&d[i], delay, jitter, loss);
			give(&d[i]);
		}
	}
	for (int i = 0; i < 2; i++)
		printf("direction %d: passed %lu, lost %lu, overflowed %lu\n", i, d[i].passed,
			d[i].lost, d[i].overflowed);
	return 0;
}
