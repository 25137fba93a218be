/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server for lab/peer: echo ADDRESS PORT [MB], over UDP and TCP, with so much memory as ballast.
 *
 * A datagram comes back with the number of datagrams that came so far in its second word, so that the
 * peer sees in which order they came and which way a lost one was lost. A TCP connection says with its
 * first byte what it wants: 'e' to have everything back, 'd' and eight bytes in host byte order
 * to download that many bytes of a sequence that depends on their place alone.
 */
#include "status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t byte_at(uint64_t place)
{
	return (uint8_t)((place * 0x9e3779b97f4a7c15u) >> 56);
}

static void echo_back(int s)
{
	uint8_t b[65536];
	ssize_t n;

	while ((n = read(s, b, sizeof(b))) > 0)
		for (ssize_t at = 0, w; at < n; at += w)
			if ((w = write(s, b + at, (size_t)(n - at))) <= 0)
				return;
}

static void send_all(int s)
{
	uint8_t b[65536];
	uint64_t total, place = 0;

	if (recv(s, &total, sizeof(total), MSG_WAITALL) != sizeof(total))
		return;
	while (place < total) {
		size_t n = total - place < sizeof(b) ? total - place : sizeof(b);

		for (size_t i = 0; i < n; i++)
			b[i] = byte_at(place + i);
		for (size_t at = 0; at < n;) {
			ssize_t w = write(s, b + at, n - at);

			if (w <= 0)
				return;
			at += (size_t)w;
		}
		place += n;
	}
}

static void *connection_main(void *arg)
{
	int s = (int)(intptr_t)arg;
	char what;

	if (read(s, &what, 1) == 1) {
		if (what == 'e')
			echo_back(s);
		else
			send_all(s);
	}
	close(s);
	return NULL;
}

static void *tcp_main(void *arg)
{
	int s, listener = (int)(intptr_t)arg;
	pthread_t t;

	while ((s = accept(listener, NULL, NULL)) >= 0)
		if (pthread_create(&t, NULL, connection_main, (void *)(intptr_t)s) == 0)
			pthread_detach(t);
	_exit(3);
}

static void udp_loop(int s)
{
	struct sockaddr_storage from;
	uint64_t words[256], count = 0;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(s, words, sizeof(words), 0, (struct sockaddr *)&from, &len);

		if (n < 16)
			continue;
		words[1] = count++;
		sendto(s, words, (size_t)n, 0, (struct sockaddr *)&from, len);
		if (count % 1024 == 0)
			status("ok %lu", count);
	}
}

static void carry(size_t bytes)
{
	volatile size_t *p = malloc(bytes);

	if (!p)
		_exit(1);
	for (size_t i = 0; i < bytes / sizeof(*p); i++)
		p[i] = i * 0x9e3779b97f4a7c15u;
}

int main(int argc, char **argv)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr *at = (struct sockaddr *)&v4;
	socklen_t len = sizeof(v4);
	int udp, tcp, on = 1;
	pthread_t t;

	if (argc < 3 || argc > 4)
		return 2;
	if (argc == 4)
		carry((size_t)atoi(argv[3]) << 20);
	v4.sin_port = v6.sin6_port = htons((uint16_t)atoi(argv[2]));
	if (inet_pton(AF_INET, argv[1], &v4.sin_addr) != 1) {
		at = (struct sockaddr *)&v6;
		len = sizeof(v6);
		inet_pton(AF_INET6, argv[1], &v6.sin6_addr);
	}
	signal(SIGPIPE, SIG_IGN);
	udp = socket(at->sa_family, SOCK_DGRAM, 0);
	tcp = socket(at->sa_family, SOCK_STREAM, 0);
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(udp, at, len) < 0 || bind(tcp, at, len) < 0 || listen(tcp, 64) < 0)
		return 1;
	status("ok 0");
	pthread_create(&t, NULL, tcp_main, (void *)(intptr_t)tcp);
	udp_loop(udp);
	return 0;
}
