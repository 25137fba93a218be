/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * When the processes of a cgroup rest.
 *
 * A server that works in turns (a game's, sixty a second, say) is best frozen when it has just done one: it has sent
 * what it had to, and the next is due a whole turn later, in which a part of the freeze goes by. The kernel counts
 * the processor time of a cgroup (cpu.stat, cgroups(7)) when a thread leaves its processor: it is at work while that
 * grows, and rests when it doesn't.
 */

struct cgroup_rhythm {
	int stat; /* owned; -1: nothing is known */
	pthread_t thread;
	bool learning;
	atomic_bool stop;
	uint64_t turn_ns; /* the longest of those that were watched; 0: there is no rhythm */
	uint64_t work_us; /* processor time of one, on average */
};

#define CGROUP_RHYTHM_INIT ((struct cgroup_rhythm){.stat = -1})

/* Begins to watch cgroup @dir, for as long as a few turns take, on a thread. *@r stays where it is. It can
 * fail: then there is none. */
void cgroup_rhythm_learn(struct cgroup_rhythm *r, const char *dir);

/* Returns when a turn is over: at once where there is no rhythm, else after a little more than one at most. */
void cgroup_rhythm_await(struct cgroup_rhythm *r);

void cgroup_rhythm_done(struct cgroup_rhythm *r);
