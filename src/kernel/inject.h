/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/*
 * A userfaultfd of another process: the system call belongs to the address space that makes it, so
 * one thread of the process is stopped for a moment and made to call it (ptrace(2)), and the
 * descriptor is fetched (pidfd_getfd(2)) and closed there again.
 *
 * Between the first and the last register that is written, the thread is not itself: whoever dies
 * there leaves it broken. Therefore a child process does it, which no signal meant for us ends.
 */

/* The descriptor, the caller's; or -errno: -EPERM when somebody else traces the process, -ESRCH when
 * it has ended, -EBUSY when it can't be stopped now, -ENOSYS on processors that this isn't written for. */
int inject_userfaultfd(pid_t pid);

/* A copy of one of its descriptors, the caller's; or -errno. */
int inject_fetch(pid_t pid, int fd);

/* One of this process, to see what the kernel can. */
int inject_probe(void);
