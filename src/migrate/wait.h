/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "wire/transport.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Waiting for one thing while keeping an eye on the others: signals, the peer, threads. Whatever
 * else becomes ready is dealt with by its function, whose error ends the wait.
 */

#define WAITER_MAX 32

struct watched {
	int fd; /* borrowed */
	const struct transport *input; /* borrowed, NULL: has none of its own */
	int (*ready)(void *ctx, struct err *e); /* negative: the wait fails; 1: watch it no more */
	void *ctx;
};

struct waiter {
	struct watched v[WAITER_MAX];
	size_t n;
};

#define WAITER_INIT ((struct waiter){.n = 0})

/* -E2BIG when there are too many. */
int waiter_add(struct waiter *w, int fd, int (*ready)(void *ctx, struct err *e), void *ctx);
/* The same for a transport's input, also what it has read ahead. */
int waiter_add_transport(struct waiter *w, const struct transport *t,
	int (*ready)(void *ctx, struct err *e), void *ctx);
void waiter_remove(struct waiter *w, int fd);

/* Until @fd is readable or hung up: 0, -ETIMEDOUT (without an error set), or the error of another.
 * @fd may be -1: until the deadline. */
int waiter_wait(struct waiter *w, int fd, uint64_t deadline, struct err *e);
