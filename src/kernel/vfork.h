/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * Does @pid run in the address space of its parent, as between vfork(2) or posix_spawn(3) and
 * exec(2)? The parent stands still meanwhile and can't be traced; its memory has two names.
 */
bool vfork_borrows(pid_t pid);
