/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdint.h>

/*
 * Keeps the kernel ready to move processes between cgroups.
 *
 * Such a move takes a lock against every fork and exit of the host, and the first one in a while
 * waits for all processors to notice, 8 to 20 ms, in which a container would stand still that CRIU
 * is just putting into its cgroup. Whoever comes within 12 ms of the last one finds the lock ready
 * (kernel/rcu/sync.c: readers return to their fast path only a grace period later). So for these
 * moments a thread asks for a move of this process to where it is, every few ms.
 */

struct cgroup_warmer {
	pthread_t thread;
	int stop; /* owned eventfd; -1: not running */
	_Atomic uint64_t until;
};

#define CGROUP_WARMER_INIT ((struct cgroup_warmer){.stop = -1})

/* For the next ten seconds, also when it is running. It can fail: then moves take their time. Before
 * cgroup_warm_stop() *@w stays where it is. */
void cgroup_warm_start(struct cgroup_warmer *w);
void cgroup_warm_stop(struct cgroup_warmer *w);
