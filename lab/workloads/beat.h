/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beat: a datagram a turn of a workload's own loop, from the floating address to the player's
 * machine, so that a gap can be measured from outside. It looks like the packets that gapmeter.c
 * knows: a word with the flag of the unreliable stream and the length, and a sequence number.
 */
#pragma once

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define BEAT_FLAG 0x00100000u

struct beat {
	int fd;
	struct sockaddr_in to;
	uint32_t n;
};

/* @where: FROM/TO/PORT, both addresses, and the port at both. 0, or -1. */
static inline int beat_open(struct beat *b, const char *where)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	char a[16], z[16];
	uint16_t port;

	if (sscanf(where, "%15[0-9.]/%15[0-9.]/%hu", a, z, &port) != 3)
		return -1;
	from.sin_port = htons(port);
	b->to = from;
	b->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (b->fd < 0 || inet_pton(AF_INET, a, &from.sin_addr) != 1 ||
		inet_pton(AF_INET, z, &b->to.sin_addr) != 1)
		return -1;
	return bind(b->fd, (struct sockaddr *)&from, sizeof(from));
}

/* One that can't be sent is one that is missing outside. */
static inline void beat_send(struct beat *b)
{
	uint32_t packet[2] = {htonl(BEAT_FLAG | sizeof(packet)), htonl(b->n++)};

	sendto(b->fd, packet, sizeof(packet), 0, (struct sockaddr *)&b->to, sizeof(b->to));
}
