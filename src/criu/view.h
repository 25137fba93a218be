/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/ranges.h"

#include <sys/types.h>

/*
 * What CRIU sees of a process in a lazy dump.
 *
 * CRIU lists the pages that a lazy restore will ask for. On the way it has the kernel walk the page
 * tables twice, and pins every page in pipes, to serve it later, which godwit does instead: 120 ms
 * per GB within the freeze. It has no option to leave that out. So its library calls for two files
 * in /proc go through a small library of godwit's (view_preload.c, by LD_PRELOAD), which leaves out
 * pages of regions that godwit lists itself and adds to the images (images_add_lazy()), and for
 * /proc/PID/smaps returns a text that was read before the freeze. In that these regions have one page,
 * since for each page of a region CRIU makes room, 16 bytes, that it copies to where the process sees it,
 * 5 ms per GB; they get their length back in the images (images_lengthen()).
 *
 * And where a thread's stack pointer is at the very beginning of a page CRIU takes every page of the process for
 * one of a stack (is_stack() in criu/mem.c compares what it should leave out), and saves it itself, within the freeze.
 *
 * Where it isn't loaded or has nothing for a process, CRIU sees all, and it takes longer.
 */

/* Leaves @spared of process @pid's pages out of what CRIU sees, and shows it @smaps. Only before
 * CRIU looks at the process. In the workplace. */
int view_narrow(pid_t pid, const struct ranges *spared, const char *smaps, struct err *e);
