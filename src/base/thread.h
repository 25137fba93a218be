/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * A thread that can be told to give way to others, from any thread: by its nice value, which on
 * Linux is each thread's own (sched(7)).
 */

struct thread_priority {
	_Atomic pid_t tid; /* 0 until the thread has announced itself */
	_Atomic bool gives_way;
};

/* Called by the thread itself when it starts. */
void thread_priority_begin(struct thread_priority *p);

/* Takes effect at once, or when the thread begins. */
void thread_priority_set(struct thread_priority *p, bool gives_way);
