/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Giving up rights for good: for a process that takes apart what comes from outside and has all
 * descriptors that it needs.
 */

/*
 * From now on this process is nobody: without capabilities or a way to get any, with an empty directory
 * that it can't write to as its root, and with no system calls but those of confine_calls(). It dies with
 * its parent. The caller is root and has one thread. 0 or -errno: then it must not go on.
 */
int confine_process(void);

/* Only the system calls for memory of its own and for descriptors that are open: all others fail with
 * EPERM. */
int confine_calls(void);
