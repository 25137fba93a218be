/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include "base/clock.h"
#include "base/file.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* A tenth of the weight of others (sched_prio_to_weight in the kernel): enough to go on when the
 * processors are busy, too little to be in the way. */
#define GIVES_WAY 10
#define COMES_FIRST (-15)
#define UNKNOWN 100

/* A grace period of RCU takes some milliseconds anyway. */
#define BREATHE_EVERY_NS (NSEC_PER_MSEC / 2)

void thread_breathe(void)
{
	static _Thread_local uint64_t last;
	uint64_t now = clock_now();

	if (now - last < BREATHE_EVERY_NS)
		return;
	last = now;
	sched_yield();
}

/* What this process was started with, which its first thread still has when it asks first. */
static int usual_nice(void)
{
	static _Atomic int usual = UNKNOWN;
	int nice = atomic_load(&usual);

	if (nice == UNKNOWN) {
		nice = getpriority(PRIO_PROCESS, (id_t)getpid());
		atomic_store(&usual, nice);
	}
	return nice;
}

static void set_nice(pid_t tid, int nice)
{
	/* Not allowed to is no reason to fail: it only takes longer. */
	setpriority(PRIO_PROCESS, (id_t)tid, nice);
}

static void apply(pid_t tid, bool gives_way)
{
	int usual = usual_nice();

	set_nice(tid, gives_way && usual < GIVES_WAY ? GIVES_WAY : usual);
}

void thread_come_first(pid_t tid, bool first)
{
	int usual = usual_nice(); /* asked before it is changed */

	set_nice(tid, first ? COMES_FIRST : usual);
}

void session_come_first(pid_t pid)
{
	char path[64], nice[8];

	setpriority(PRIO_PGRP, (id_t)pid, COMES_FIRST);
	snprintf(path, sizeof(path), "/proc/%d/autogroup", pid);
	snprintf(nice, sizeof(nice), "%d", COMES_FIRST);
	file_poke(path, nice);
}

int thread_hurry(void)
{
	struct sched_param lowest = {.sched_priority = 1};
	int before = sched_getscheduler(0);

	return sched_setscheduler(0, SCHED_FIFO, &lowest) < 0 ? -1 : before;
}

/* The nice value is what it was. */
void thread_hurry_end(int before)
{
	struct sched_param none = {0};

	if (before >= 0)
		sched_setscheduler(0, before, &none);
}

void thread_priority_init(struct thread_priority *p, pid_t tid, bool gives_way)
{
	atomic_store(&p->tid, tid);
	thread_priority_set(p, gives_way);
}

void thread_priority_begin(struct thread_priority *p)
{
	atomic_store(&p->tid, gettid());
	if (atomic_load(&p->gives_way))
		apply(gettid(), true);
}

void thread_priority_set(struct thread_priority *p, bool gives_way)
{
	pid_t tid;

	atomic_store(&p->gives_way, gives_way);
	tid = atomic_load(&p->tid);
	if (tid > 0)
		apply(tid, gives_way);
}
