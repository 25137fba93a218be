/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/ranges.h"

/*
 * Which pages of a process exist: /proc/PID/pagemap, by the PAGEMAP_SCAN ioctl (Linux 6.7,
 * Documentation/admin-guide/mm/pagemap.rst) or, on older kernels, by reading its entries.
 */

/* Opens /proc/PID/pagemap; the caller closes it. -errno. */
int pagemap_open(int pid);

/*
 * Adds to @ret the pages of [start, end) that are anonymous and populated, present or swapped.
 * The shared zero page may or may not be among them. -errno.
 */
int pagemap_populated(int fd, uint64_t start, uint64_t end, struct ranges *ret);

/*
 * Adds to @ret those of the same pages that have been written since they were last marked, and marks
 * them, in one step for each page. The range must be registered for write tracking
 * (kernel/uffd.h): -EPERM when some of it isn't, -ENOTTY before Linux 6.7.
 */
int pagemap_written(int fd, uint64_t start, uint64_t end, struct ranges *ret);
