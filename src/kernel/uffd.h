/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Thin wrappers of userfaultfd(2) and its ioctls (ioctl_userfaultfd(2)). Addresses and lengths
 * are multiples of the page size. No policy here.
 */

/* A new descriptor for the calling process with @features; its owner closes it. -errno. */
int uffd_open(uint64_t features);

/* For write tracking of another process, whose descriptor this is: -EINVAL when the kernel has no
 * asynchronous write protection (Linux 6.7). */
int uffd_enable_tracking(int uffd);

/* Registers a range for it. -EBUSY: another descriptor has it; -ESRCH: the process is gone. */
int uffd_register_tracking(int uffd, uint64_t addr, uint64_t len);

int uffd_register_missing(int uffd, uint64_t addr, uint64_t len);

/*
 * Installs @len bytes at @dst and wakes who waits there. *ret_done says how many bytes were
 * installed, also on error. Errors worth knowing: -EEXIST a page is there already, -EAGAIN an
 * event must be read first, -ENOENT no registered region there, -ESRCH the process is gone.
 */
int uffd_copy(int uffd, uint64_t dst, const void *src, uint64_t len, uint64_t *ret_done);

/* Same with zero pages. */
int uffd_zero(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done);

/* Is this descriptor one? */
bool uffd_is(int fd);

/* Has its process ended, or its address space by exec(2)? Touches nothing. */
bool uffd_is_dead(int uffd);

int uffd_wake(int uffd, uint64_t addr, uint64_t len);

/* Reads at most @n messages without blocking; how many came, or -errno (-EAGAIN: none). */
int uffd_read(int uffd, struct uffd_msg *msgs, size_t n);
