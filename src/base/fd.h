/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * File descriptors: ownership by scope, whole reads and writes with a deadline, and passing
 * them over unix sockets. Everything is opened O_CLOEXEC. A closed descriptor is -1.
 */

/* Closes *fd if >= 0 and sets it to -1; keeps errno. */
void fd_close(int *fd);

#define _cleanup_close_ __attribute__((cleanup(fd_close)))

/* Moves ownership out of a _cleanup_close_ variable. */
static inline int fd_take(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

int fd_set_nonblock(int fd);

/* Closes every descriptor of this process but these @n, which it sorts, and not those below @first. */
void fd_close_others(int first, int *keep, size_t n);

/* Waits for @events (POLLIN, POLLOUT). 0 when ready or hung up, -ETIMEDOUT, -errno. */
int fd_wait(int fd, short events, uint64_t deadline);

/* Reads exactly @len bytes. 0, -EPIPE at end of file before that, -ETIMEDOUT, -errno.
 * Works on blocking and non-blocking descriptors alike. */
int fd_read_all(int fd, void *buf, size_t len, uint64_t deadline);
int fd_write_all(int fd, const void *buf, size_t len, uint64_t deadline);

/* Sends @len bytes (1..) with descriptors attached (0 <= n <= 4) over a unix socket. */
int fd_send(int sock, const void *buf, size_t len, const int *fds, size_t n);

/* Receives up to @len bytes and up to *n descriptors, which the caller owns; *n says how many
 * came. Returns bytes read, 0 at end of file, -errno; surplus descriptors are closed. */
ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, size_t *n);
