/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/tcp.h"

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

bool tcp_look(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	/* A kernel older than the headers fills less of it. */
	*ret = (struct tcp_info){0};
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) == 0 &&
		len > offsetof(struct tcp_info, tcpi_notsent_bytes);
}

double tcp_rate(int fd)
{
	struct tcp_info i;

	return tcp_look(fd, &i) && !i.tcpi_delivery_rate_app_limited ? (double)i.tcpi_delivery_rate : 0;
}

double tcp_rate_after(int fd, double known)
{
	struct tcp_info i;
	double rate;

	if (!tcp_look(fd, &i))
		return known;
	rate = (double)i.tcpi_delivery_rate;
	return !i.tcpi_delivery_rate_app_limited || rate > known ? rate : known;
}
