/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The socket on which a lazy restore hands over the memory of its tasks: godwit listens in place
 * of "criu lazy-pages". Format (criu/uffd.c): for each task an int with its pid inside the
 * container, then a userfaultfd by SCM_RIGHTS; a zombie sends its pid negated and nothing else;
 * at the end the 32-bit word 0x52535446. Host byte order: the other end is a local CRIU.
 */

struct lazy_socket {
	int listener, peer; /* owned; -1 */
};

#define LAZY_SOCKET_INIT ((struct lazy_socket){-1, -1})

struct lazy_task {
	uint32_t vpid; /* 0: the restore has ended */
	int uffd;      /* owned by the caller */
};

/* Listens in CRIU's work directory @dir. */
int lazy_socket_open(struct lazy_socket *s, const char *dir, struct err *e);
void lazy_socket_done(struct lazy_socket *s);

/* What to poll: the listener until CRIU has connected, then the connection. */
static inline int lazy_socket_fd(const struct lazy_socket *s)
{
	return s->peer >= 0 ? s->peer : s->listener;
}

/* When readable: 1 and a task, 0 when there is nothing to do for it, negative on errors. The end
 * of the connection is a task with vpid 0. */
int lazy_socket_next(struct lazy_socket *s, struct lazy_task *ret, uint64_t deadline, struct err *e);
