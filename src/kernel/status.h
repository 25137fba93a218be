/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* /proc/PID/status (proc_pid_status(5)). */

/* Reads all of it; *ret is freed by the caller. -ESRCH or -ENOENT when the process has ended. */
int status_read(pid_t pid, char **ret);

/* What stands behind @field, which is its name with the newline before and the colon, "\nVmRSS:", up to
 * the next newline; NULL when it isn't there. */
const char *status_field(const char *text, const char *field);

/* The number in it; 0 when it isn't there. Sizes are in kB there, and in bytes here. */
long status_number(const char *text, const char *field);
uint64_t status_bytes(const char *text, const char *field);

/* When a process was started, in ticks since the host was: tells it from a later one of its number. 0 when
 * it has ended, whether it was waited for or not. */
uint64_t process_started(pid_t pid);

/* Processor time that its first thread has used, in ns (/proc/PID/schedstat: Documentation/scheduler/
 * sched-stats.rst in the kernel); 0 when it has ended or the kernel doesn't count. */
uint64_t process_ran(pid_t pid);

/* 0 when it has ended. */
pid_t process_parent(pid_t pid);

/* Who traces a process: 0 for nobody. */
pid_t process_tracer(pid_t pid);

/* Does its first thread run, wait for a processor, or is about to, as one that a tracer lets go of; of a process that is
 * stopped any of them? Of one in a frozen cgroup: its cgroup counts what a tracer has let go of as frozen before it has
 * run as far as to its next stop. */
bool process_runs(pid_t pid);
