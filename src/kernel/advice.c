/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/advice.h"

#include "base/fd.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ID_MAX 32

static const char *const tracepoints[] = {"sys_exit_madvise", "sys_exit_process_madvise"};

#define N_TRACEPOINTS (sizeof(tracepoints) / sizeof(tracepoints[0]))

static int mount_tracing(const char *dir)
{
	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	return mount("godwit", dir, "tracefs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno : 0;
}

static int tracepoint_id(const char *tracing, const char *name, uint64_t *ret)
{
	_cleanup_free_ char *text = NULL;
	char path[256];
	int r;

	snprintf(path, sizeof(path), "%s/events/syscalls/%s/id", tracing, name);
	r = file_read(path, ID_MAX, &text, NULL);
	if (r < 0)
		return r;
	*ret = strtoull(text, NULL, 10);
	return *ret ? 0 : -EBADMSG;
}

/* On each processor that may run one of them. */
static int count_one(struct advice_count *c, int cgroup, uint64_t id, long processors)
{
	struct perf_event_attr what = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof(what), .config = id};

	for (long i = 0; i < processors; i++) {
		int fd = (int)syscall(SYS_perf_event_open, &what, cgroup, (int)i, -1,
			PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC);

		if (fd >= 0)
			c->fds[c->n++] = fd;
		/* A processor that is off. */
		else if (errno != ENODEV)
			return -errno;
	}
	return 0;
}

static int count_all(struct advice_count *c, int cgroup, const char *tracing)
{
	long processors = sysconf(_SC_NPROCESSORS_CONF);
	int r = 0;

	if (processors <= 0)
		return -ENODEV;
	c->fds = calloc((size_t)processors * N_TRACEPOINTS, sizeof(*c->fds));
	if (!c->fds)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < N_TRACEPOINTS; i++) {
		uint64_t id;

		r = tracepoint_id(tracing, tracepoints[i], &id);
		if (r == 0)
			r = count_one(c, cgroup, id, processors);
	}
	return r;
}

int advice_count_start(struct advice_count *c, const char *cgroup, const char *tracing)
{
	_cleanup_close_ int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : mount_tracing(tracing);

	c->fds = NULL;
	c->n = 0;
	if (r == 0)
		r = count_all(c, fd, tracing);
	if (r < 0)
		advice_count_done(c);
	return r;
}

int advice_count_read(const struct advice_count *c, uint64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < c->n; i++) {
		uint64_t count;

		if (read(c->fds[i], &count, sizeof(count)) != sizeof(count))
			return -EIO;
		*ret += count;
	}
	return c->n > 0 ? 0 : -ENODATA;
}

void advice_count_done(struct advice_count *c)
{
	for (size_t i = 0; i < c->n; i++)
		close(c->fds[i]);
	free(c->fds);
	*c = ADVICE_COUNT_INIT;
}
