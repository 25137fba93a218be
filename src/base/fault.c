/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#define FILE_MAX 4096
#define DAY_NS (86400 * (long long)NSEC_PER_SEC)

static const struct point {
	const char *name, *kinds;
} points[FAULT_POINTS] = {
#define FAULT_POINT(name, kinds) {#name, kinds},
#include "base/fault_points.h"
#undef FAULT_POINT
};

static const char *const kinds[] = {
	[FAULT_KILL] = "kill", [FAULT_ERROR] = "error", [FAULT_CLOCK] = "clock", [FAULT_STOP] = "stop"};

static atomic_llong clock_ahead;

static int kind_of(const char *word)
{
	for (int i = FAULT_KILL; i <= FAULT_STOP; i++)
		if (strcmp(word, kinds[i]) == 0)
			return i;
	return -EINVAL;
}

static int point_of(const char *word)
{
	for (int i = 0; i < FAULT_POINTS; i++)
		if (strcmp(word, points[i].name) == 0)
			return i;
	return -EINVAL;
}

/* What a line says, without its end. */
static int parse_line(const char *line, size_t len, int *ret_point)
{
	char text[128], point[64], kind[16], rest;

	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, line, len);
	text[len] = '\0';
	if (sscanf(text, "%63s %15s %c", point, kind, &rest) != 2)
		return -EINVAL;
	*ret_point = point_of(point);
	if (*ret_point < 0)
		return -EINVAL;
	if (strcmp(kind, "error") == 0 && !strstr(points[*ret_point].kinds, "error"))
		return -EINVAL;
	return kind_of(kind);
}

int fault_take(char *text, enum fault_point at)
{
	int ret = FAULT_NONE;
	char *line = text;

	while (*line) {
		size_t len = strcspn(line, "\n");
		size_t whole = len + (line[len] == '\n');
		int point = -1, kind = parse_line(line, len, &point);

		if (kind < 0)
			return kind;
		if (point == (int)at && ret == FAULT_NONE) {
			ret = kind;
			memmove(line, line + whole, strlen(line + whole) + 1);
		} else {
			line += whole;
		}
	}
	return ret;
}

/* Of threads and processes that come to a point at the same time one takes it. */
static int fetch(enum fault_point at)
{
	_cleanup_close_ int fd = open(FAULT_FILE, O_RDWR | O_CLOEXEC);
	char text[FILE_MAX];
	ssize_t n;
	int kind;

	if (fd < 0)
		return FAULT_NONE;
	if (flock(fd, LOCK_EX) < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	kind = fault_take(text, at);
	if (kind <= FAULT_NONE)
		return kind;
	n = (ssize_t)strlen(text);
	return pwrite(fd, text, (size_t)n, 0) == n && ftruncate(fd, n) == 0 ? kind : -EIO;
}

static void stand_still(enum fault_point at)
{
	_cleanup_close_ int watch = inotify_init1(IN_CLOEXEC);
	char path[128], pid[16];
	int len = snprintf(pid, sizeof(pid), "%d\n", getpid());

	snprintf(path, sizeof(path), "%s.%s", FAULT_FILE, points[at].name);
	if (watch < 0 || file_write_atomic(path, pid, (size_t)len, 0600) < 0)
		abort();
	/* One that has gone already needs no waiting for. */
	if (inotify_add_watch(watch, path, IN_DELETE_SELF) >= 0)
		fd_wait(watch, POLLIN, deadline_in_ms(FAULT_STOP_MS));
}

int fault_here(enum fault_point at, struct err *e)
{
	int kind = fetch(at);

	switch (kind) {
	case FAULT_NONE:
		return 0;
	case FAULT_KILL:
		kill(getpid(), SIGKILL);
		return 0;
	case FAULT_ERROR:
		return err_set(e, ERR_LOCAL, EIO, "a fault is injected at %s", points[at].name);
	case FAULT_CLOCK:
		atomic_store(&clock_ahead, DAY_NS);
		return 0;
	case FAULT_STOP:
		stand_still(at);
		return 0;
	}
	fprintf(stderr, "godwit: %s is not understood (%d)\n", FAULT_FILE, kind);
	abort();
}

long long fault_clock_ahead(void)
{
	return atomic_load(&clock_ahead);
}
