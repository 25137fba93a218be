/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "criu/hook.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The archives of tmpfs mounts, made and unpacked here instead of by tar.
 *
 * CRIU runs tar and gzip for every tmpfs of a container within the freeze, on both sides: three
 * program starts each, and 20 ms for every megabyte that gzip compresses. godwit's stand-in for
 * tar (tar_program.c) is found first and passes its two descriptors here. The archives are pax
 * (POSIX.1-2001) in stored gzip blocks: any tar reads them. What can't be done here the stand-in
 * leaves to the real tar.
 */

/* True when @c was a call of the stand-in: it is taken over, and answered by a thread when the work
 * is done. */
bool tmpfs_take(struct hook_call *c);

/* Grows with each file and each piece of one that is unpacked, in this process. */
uint64_t tmpfs_unpacked(void);

/* The work itself. 0 or -EIO. @dir stays open; its offset and that of @file are the caller's. */
int tmpfs_pack(int dir, int file);
int tmpfs_unpack(int dir, int file);
