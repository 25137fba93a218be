/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/buf.h"
#include "base/child.h"
#include "base/err.h"
#include "criu/hook.h"
#include "criu/lazy.h"
#include "mem/keeper.h"
#include "migrate/wait.h"
#include "oci/runc.h"
#include "wire/msg.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * A restore that is held at its gate: everything is in place and nothing has run yet.
 *
 * CRIU calls back at post-restore and waits for the answer: yes and the container runs, no and
 * CRIU kills what it has restored. If this process dies the answer is no.
 */

struct restore {
	struct hooks hooks;
	struct lazy_socket lazy;
	struct hook_call gate; /* post-restore, unanswered */
	struct child runc;
	struct waiter *waiter; /* borrowed, while something is waited for */
	struct keeper *keeper; /* borrowed; NULL: nothing is lazy */
	char id[256];
	int inventory; /* owned: both ends of the pipe, until it is fed; or -1 */
	int claim; /* owned: on the container's name, until runc has it; or -1 */
	bool begun, opened; /* it may have run */
	uint64_t started, gate_at, running_at;
};

#define RESTORE_INIT                                                                               \
	((struct restore){.hooks = HOOKS_INIT,                                                     \
		.lazy = LAZY_SOCKET_INIT,                                                          \
		.gate = HOOK_CALL_INIT,                                                            \
		.runc = CHILD_INIT,                                                                \
		.inventory = -1,                                                                   \
		.claim = -1})

/* Prepares the workplace, which was entered, for CRIU. @keeper: where the memory of its processes
 * comes from, NULL when it is all in the images. */
int restore_prepare(struct restore *r, struct keeper *keeper, const char *annotation, struct err *e);

/* Before anything is changed for it: the name is free, and no other godwit takes it before restore_start() has
 * returned. */
int restore_claim(struct restore *r, const char *id, struct err *e);

/*
 * Starts runc and CRIU, for a name that is claimed. With @descriptors (runc's descriptors.json) before there
 * are images: CRIU then waits at inventory.img, a pipe, for restore_feed(); else everything is in @images.
 */
int restore_start(struct restore *r, const struct runc_restore *o, const struct msg_bytes *descriptors,
	struct waiter *w, struct err *e);

/* All other images are in place: this is the inventory. */
int restore_feed(struct restore *r, const struct buf *inventory, struct err *e);

int restore_to_gate(struct restore *r, struct waiter *w, struct err *e);

/* The processes that are there then; *ret is freed by the caller. 0 or -errno. */
int restore_processes(const struct restore *r, pid_t **ret, size_t *ret_n);

/* Lets it run; returns when it does. */
int restore_open_gate(struct restore *r, struct waiter *w, struct err *e);

/* Waits for runc, which has nothing more to do than to note the container's state. */
int restore_finish(struct restore *r, struct waiter *w, struct err *e);

/* Nothing of it is left and nothing has run, or runs any longer. Bears any state. */
void restore_revoke(struct restore *r);

void restore_done(struct restore *r);
