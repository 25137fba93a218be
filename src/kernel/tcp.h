/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <linux/tcp.h>
#include <stdbool.h>

/* What the kernel knows of a connection (tcp(7), TCP_INFO). */

/* False when @fd is no TCP socket, or the kernel is older than what is needed here (4.6). */
bool tcp_look(int fd, struct tcp_info *ret);

/* Bytes per second that it has delivered when there was enough to send; 0: there never was. */
double tcp_rate(int fd);

/* The same, when it was @known before: if there wasn't enough to send lately, it stays, or has been too low. */
double tcp_rate_after(int fd, double known);
