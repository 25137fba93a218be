/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into CRIU: answers two of its questions to /proc from files that godwit has written
 * (view.h). Every other call goes on to the kernel as it came.
 */
#include "criu/view_files.h"
#include "kernel/pagemap_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

/* The pid in the path of @fd, which ends with "/PID" and @rest; 0 when it is something else. */
static int pid_of(int fd, const char *rest)
{
	char link[64], path[256];
	ssize_t n;
	char *p;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return 0;
	path[n] = '\0';
	p = path + n - strlen(rest);
	if (p <= path || strcmp(p, rest) != 0)
		return 0;
	*p = '\0';
	p = strrchr(path, '/');
	return p ? atoi(p + 1) : 0;
}

static int open_view(int pid, const char *what)
{
	char path[128];

	snprintf(path, sizeof(path), VIEW_FILE, pid, what);
	return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

/* --- regions ---------------------------------------------------------------------------------- */

PUBLIC int openat64(int dir, const char *path, int flags, ...)
{
	int saved = errno, pid, fd;
	va_list args;
	mode_t mode;

	if (strcmp(path, "smaps") == 0 && (pid = pid_of(dir, "")) > 0) {
		fd = open_view(pid, VIEW_SMAPS);
		if (fd >= 0)
			return fd;
		errno = saved;
	}
	va_start(args, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

/* --- pages ------------------------------------------------------------------------------------ */

/* Of one process at a time, as CRIU dumps them. */
static struct {
	int pid;
	struct view_span *v;
	size_t n;
} spared;

static void load_spared(int pid)
{
	int fd = open_view(pid, VIEW_SPARED);
	struct stat st;

	free(spared.v);
	spared.v = NULL;
	spared.n = 0;
	spared.pid = pid;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && (spared.v = malloc((size_t)st.st_size + 1)) &&
		read(fd, spared.v, (size_t)st.st_size) == st.st_size)
		spared.n = (size_t)st.st_size / sizeof(spared.v[0]);
	close(fd);
}

/* The first span that ends behind @addr, or NULL. They ascend. */
static const struct view_span *span_from(uint64_t addr)
{
	size_t from = 0, to = spared.n;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (spared.v[middle].end > addr)
			to = middle;
		else
			from = middle + 1;
	}
	return from < spared.n ? &spared.v[from] : NULL;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The scan without what is spared: of the parts between, one after the other. */
static int scan_the_others(int fd, struct gw_pm_scan_arg *whole)
{
	uint64_t at = whole->start, n = 0;

	while (at < whole->end && n < whole->vec_len) {
		const struct view_span *s = span_from(at);
		struct gw_pm_scan_arg part = *whole;
		long r;

		if (s && s->start <= at) {
			at = lesser(s->end, whole->end);
			continue;
		}
		part.start = at;
		part.end = s ? lesser(s->start, whole->end) : whole->end;
		part.vec += n * sizeof(struct gw_page_region);
		part.vec_len -= n;
		r = syscall(SYS_ioctl, fd, GW_PAGEMAP_SCAN, &part);
		if (r < 0)
			return -1;
		n += (uint64_t)r;
		at = part.walk_end;
	}
	whole->walk_end = at;
	return (int)n;
}

/* Does it ask which pages there are? It asks for guard pages, too, for instance. */
static int lists_pages(const struct gw_pm_scan_arg *a)
{
	return a->category_anyof_mask == (GW_PAGE_IS_PRESENT | GW_PAGE_IS_SWAPPED);
}

PUBLIC int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int pid;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request != GW_PAGEMAP_SCAN || !lists_pages(arg) || (pid = pid_of(fd, "/pagemap")) <= 0)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	if (pid != spared.pid)
		load_spared(pid);
	return scan_the_others(fd, arg);
}
