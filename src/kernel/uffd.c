/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/userfaultfd.h, since 5.11; missing in older headers. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* The same, since 6.4 and 6.7. */
#define GW_FEATURE_WP_UNPOPULATED (1ull << 13)
#define GW_FEATURE_WP_ASYNC (1ull << 15)

int uffd_open(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int r, fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int uffd_enable_tracking(int uffd)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = GW_FEATURE_WP_UNPOPULATED | GW_FEATURE_WP_ASYNC};

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

int uffd_register_tracking(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_register reg = {
		.range = {.start = addr, .len = len},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

int uffd_register_missing(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_register reg = {
		.range = {.start = addr, .len = len},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

int uffd_copy(int uffd, uint64_t dst, const void *src, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_copy c = {.dst = dst, .src = (uintptr_t)src, .len = len};
	int r = ioctl(uffd, UFFDIO_COPY, &c) < 0 ? -errno : 0;

	*ret_done = c.copy > 0 ? (uint64_t)c.copy : 0;
	return r;
}

int uffd_zero(int uffd, uint64_t dst, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_zeropage z = {.range = {.start = dst, .len = len}};
	int r = ioctl(uffd, UFFDIO_ZEROPAGE, &z) < 0 ? -errno : 0;

	*ret_done = z.zeropage > 0 ? (uint64_t)z.zeropage : 0;
	return r;
}

bool uffd_is(int fd)
{
	char path[64], to[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, to, sizeof(to) - 1) > 0 && strcmp(to, "anon_inode:[userfaultfd]") == 0;
}

bool uffd_is_dead(int uffd)
{
	/* No region here is registered for write protection: refused for that, if not for this. */
	struct uffdio_writeprotect w = {.range = {.start = 1 << 20, .len = 4096},
		.mode = UFFDIO_WRITEPROTECT_MODE_DONTWAKE};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &w) < 0 && errno == ESRCH;
}

int uffd_wake(int uffd, uint64_t addr, uint64_t len)
{
	struct uffdio_range range = {.start = addr, .len = len};

	return ioctl(uffd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

int uffd_read(int uffd, struct uffd_msg *msgs, size_t n)
{
	ssize_t r;

	do
		r = read(uffd, msgs, n * sizeof(*msgs));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : (int)((size_t)r / sizeof(*msgs));
}
