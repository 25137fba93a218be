/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "mem/keeper.h"

#include <sys/types.h>

/*
 * The keeper's anchor: a process that shares its table of descriptors (CLONE_FILES, see clone(2)), and
 * otherwise sleeps. What the keeper opens and closes is open and closed here. If the keeper is killed,
 * the kernel closes nothing, since the table is still used: who touches a missing page goes on waiting,
 * and would read zeros otherwise.
 */

struct anchor_state;

struct anchor {
	struct keeper_config config;
	struct anchor_state *state; /* owned; shared with the process */
	int keeper; /* owned: the keeper's pidfd */
	pid_t pid;
};

/* To be called by the keeper, for itself. */
int anchor_start(struct anchor *a, const struct keeper_config *c, struct err *e);

/* Starts another process in place of one that died. */
int anchor_cast(struct anchor *a);

/* The container may run here from now on. */
void anchor_own(struct anchor *a);
