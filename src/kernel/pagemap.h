/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/ranges.h"

#include <stdbool.h>

/*
 * Which pages of a process exist: /proc/PID/pagemap, by the PAGEMAP_SCAN ioctl (Linux 6.7,
 * Documentation/admin-guide/mm/pagemap.rst) or, on older kernels, by reading its entries.
 */

/* Opens /proc/PID/pagemap; the caller closes it. -errno. */
int pagemap_open(int pid);

/*
 * Adds to @ret the pages of [start, end), a private anonymous region, that are populated: present or
 * swapped. Before Linux 6.7 the shared zero page is among them. -errno.
 */
int pagemap_populated(int fd, uint64_t start, uint64_t end, struct ranges *ret);

/*
 * Adds to @ret those of the same pages that have been written since they were last marked, and marks
 * them, in one step for each page. The range must be registered for write tracking
 * (kernel/uffd.h): -EPERM when some of it isn't, -ENOTTY before Linux 6.7.
 */
int pagemap_written(int fd, uint64_t start, uint64_t end, struct ranges *ret);

/*
 * Is there a guard page in [start, end) (MADV_GUARD_INSTALL, Linux 6.13)? 1 or 0, the latter also where the
 * kernel doesn't say, before 6.15. -errno.
 */
int pagemap_has_guard(int fd, uint64_t start, uint64_t end);

/* Is the page at @addr in a region that is registered for that? */
bool pagemap_is_registered(int fd, uint64_t addr);

/* Calls @each for the same pages as pagemap_populated(), ascending, with the page's entry in
 * /proc/PID/pagemap; it returns 0 to go on. -errno, or what @each returned. */
int pagemap_each(int fd, uint64_t start, uint64_t end,
	int (*each)(void *ctx, uint64_t addr, uint64_t entry), void *ctx);

/* Written since the bit was cleared for the whole process (clear_refs); also, every page of a
 * region that is newer than that. Always false without CONFIG_MEM_SOFT_DIRTY. */
bool pagemap_is_soft_dirty(uint64_t entry);

/* Where the page's contents are: present or swapped, and the frame's or slot's number. */
uint64_t pagemap_place(uint64_t entry);

/* False when the number is hidden, from those without CAP_SYS_ADMIN. */
bool pagemap_tells_place(uint64_t entry);
