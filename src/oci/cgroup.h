/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The cgroup (version 2) of a container, as a directory: its processes, frozen or not. */

/* Is the hierarchy mounted anywhere here? */
bool cgroup_is_mounted(void);

/* Shows it at @dir, too, which is made. */
int cgroup_bind(const char *dir, struct err *e);

/* The directory of @pid's cgroup, wherever the hierarchy is mounted here. 0 or -errno; on
 * failure @ret is "". */
int cgroup_of(pid_t pid, char *ret, size_t size);

/* The directory of our own cgroup, the root of our cgroup namespace if it is outside of that. */
int cgroup_own(char *ret, size_t size);

/* A number that no other cgroup has until this host is rebooted, nor one of the same name later; 0: there is none.
 * (The inode of its directory, which kernfs never gives twice.) */
uint64_t cgroup_number(const char *dir);

/* Freezes it and waits until the kernel says that all of it is. */
int cgroup_freeze(const char *dir, uint64_t deadline);
int cgroup_thaw(const char *dir);

/* It is frozen, or a cgroup above it is. */
bool cgroup_is_frozen(const char *dir);
/* It has been asked to be, itself, whether it has come to that or not: to thaw it would take that back. */
bool cgroup_freeze_is_asked(const char *dir);
/* The error for one that somebody else has frozen: he would thaw it in the middle, or find it thawed by us. */
int cgroup_refuse_frozen(const char *dir, struct err *e);

/* Thaws it, and again if a CRIU that is on its way out freezes it as it had found it: returns when
 * nobody has traced or frozen it for a second. */
int cgroup_thaw_for_good(const char *dir, uint64_t deadline);

/* Kills every process in it and waits until none is left; works on a frozen one. */
int cgroup_kill(const char *dir, uint64_t deadline);

/* Removes the cgroup that runc makes for container @id when its configuration names none: below our
 * own (libcontainer/cgroups/fs2); with those below it. Only empty ones go: what is left in it has until then to
 * end. */
void cgroup_remove_default(const char *id, uint64_t deadline);

/* All processes in it and below; *ret is freed by the caller. */
int cgroup_processes(const char *dir, pid_t **ret, size_t *ret_n);

/* The first process of those that @is is true of, or 0. */
pid_t cgroup_find(const char *dir, bool (*is)(pid_t pid));
