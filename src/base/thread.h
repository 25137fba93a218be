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

/* Lets the kernel see that this processor is between two things, once in a while. Who is in system calls all the
 * time, one after the other, keeps all who wait for every processor (synchronize_rcu: cgroups, mounts,
 * namespaces, CRIU by way of all of them) waiting until the next tick of the clock. Not each time: on busy processors
 * who yields stands behind all others, for milliseconds. */
void thread_breathe(void);

/* For a thread (0: the caller) that does little and that others wait for: when it has something to do, it
 * is run. Programs that it starts inherit that. */
void thread_come_first(pid_t tid, bool first);

/* The same for all processes of a session that child_start() began with program @pid, and what they start from
 * now on. The kernel shares the processors among sessions first (sched(7), autogroup), where it does. */
void session_come_first(pid_t pid);

/* Of the caller, for some microseconds: no other thread takes its processor (sched(7), SCHED_FIFO), if that
 * is allowed. thread_hurry_end() takes what this returns. */
int thread_hurry(void);
void thread_hurry_end(int before);

/* For a thread of another process. */
void thread_priority_init(struct thread_priority *p, pid_t tid, bool gives_way);

/* Called by the thread itself when it starts. */
void thread_priority_begin(struct thread_priority *p);

/* Takes effect at once, or when the thread begins. */
void thread_priority_set(struct thread_priority *p, bool gives_way);
