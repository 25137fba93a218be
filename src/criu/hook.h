/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * CRIU's action scripts as calls into this process.
 *
 * CRIU runs a script at each step of a dump and a restore (criu(8), --action-script) and goes on
 * when it exits: 0 for yes. godwit's script is a tiny program, embedded in the godwit binary and
 * written beside a socket; it passes the step's name and waits there for the answer. If nobody
 * answers, because godwit has died, the answer is no.
 */

#define HOOK_ACTION_MAX 32

struct hooks {
	int listener; /* owned */
	char program[108];
	char socket[108];
};

struct hook_call {
	int fd; /* owned: CRIU waits until it is answered or closed */
	char action[HOOK_ACTION_MAX]; /* "post-dump" and so on */
	int fds[2]; /* owned: what came along */
	size_t n_fds;
};

#define HOOKS_INIT ((struct hooks){.listener = -1})
#define HOOK_CALL_INIT ((struct hook_call){.fd = -1})

/* Writes the program and makes the socket in @dir, which only root may enter. */
int hooks_open(struct hooks *h, const char *dir, struct err *e);
void hooks_done(struct hooks *h);

/* The descriptor to poll for calls. */
static inline int hooks_fd(const struct hooks *h)
{
	return h->listener;
}

/* Takes the next call; the caller answers it. -ETIMEDOUT when none came in time. */
int hooks_next(struct hooks *h, struct hook_call *ret, uint64_t deadline, struct err *e);

/* Lets CRIU go on (@yes) or give up, and ends the call. Nothing happens for one that ended. */
void hook_answer(struct hook_call *c, bool yes);
