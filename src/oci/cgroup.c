/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cgroup.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "kernel/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX_BYTES (4u << 20)
#define QUIET_MS 1000

static int find_mount(char *ret, size_t size)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	int r = -ENOENT;

	if (!f)
		return -errno;
	while (r < 0 && (m = getmntent(f)))
		if (strcmp(m->mnt_type, "cgroup2") == 0) {
			snprintf(ret, size, "%s", m->mnt_dir);
			r = 0;
		}
	endmntent(f);
	return r;
}

bool cgroup_is_mounted(void)
{
	char path[PATH_MAX];

	return find_mount(path, sizeof(path)) == 0;
}

int cgroup_bind(const char *dir, struct err *e)
{
	char path[PATH_MAX];
	int r = find_mount(path, sizeof(path));

	if (r == 0)
		r = dir_make(dir, 0700);
	if (r == 0 && mount(path, dir, NULL, MS_BIND, NULL) < 0)
		r = -errno;
	return r < 0 ? err_sys(e, -r, "cgroups at %s", dir) : 0;
}

uint64_t cgroup_number(const char *dir)
{
	struct stat st;

	return stat(dir, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* The path of a process below the hierarchy's mount, of cgroup version 2: "0::PATH" (cgroups(7)). */
static int read_path(pid_t pid, char *ret, size_t size)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *line;
	size_t len;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	r = file_read(path, FILE_MAX_BYTES, &text, NULL);
	if (r < 0)
		return r;
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!line)
		return -ENOENT;
	line = strchr(line, ':') + 2;
	len = strcspn(line, "\n");
	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(ret, line, len);
	ret[len] = '\0';
	return 0;
}

static int join(const char *mount, const char *path, char *ret, size_t size)
{
	return snprintf(ret, size, "%s%s", mount, path) < (int)size ? 0 : -ENAMETOOLONG;
}

int cgroup_of(pid_t pid, char *ret, size_t size)
{
	char mount[PATH_MAX], path[PATH_MAX];
	int r = read_path(pid, path, sizeof(path));

	/* The hierarchy's own root is not a container's cgroup. */
	if (r == 0 && (strcmp(path, "/") == 0 || strncmp(path, "/..", 3) == 0))
		r = -ENOENT;
	if (r == 0)
		r = find_mount(mount, sizeof(mount));
	if (r == 0)
		r = join(mount, path, ret, size);
	if (r < 0)
		ret[0] = '\0';
	return r;
}

int cgroup_own(char *ret, size_t size)
{
	char mount[PATH_MAX], path[PATH_MAX];
	int r = read_path(getpid(), path, sizeof(path));

	if (r == 0)
		r = find_mount(mount, sizeof(mount));
	if (r < 0)
		return r;
	/* Outside of our cgroup namespace: its root is all that can be seen. */
	return join(mount, strncmp(path, "/..", 3) == 0 ? "" : path, ret, size);
}

static int poke(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return file_poke(path, text);
}

/* Waits until cgroup.events has @line; the kernel signals its changes as POLLPRI. */
static int wait_event(const char *dir, const char *line, uint64_t deadline)
{
	char path[PATH_MAX], text[256];
	_cleanup_close_ int fd = -1;

	if (snprintf(path, sizeof(path), "%s/cgroup.events", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
		int r;

		if (n < 0)
			return -errno;
		text[n] = '\0';
		if (strstr(text, line))
			return 0;
		r = fd_wait(fd, POLLPRI, deadline);
		if (r < 0)
			return r;
	}
}

bool cgroup_is_frozen(const char *dir)
{
	return wait_event(dir, "frozen 1", clock_now()) == 0;
}

bool cgroup_freeze_is_asked(const char *dir)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/cgroup.freeze", dir) < (int)sizeof(path) &&
		file_read(path, FILE_MAX_BYTES, &text, NULL) == 0 && text[0] == '1';
}

int cgroup_refuse_frozen(const char *dir, struct err *e)
{
	err_set(e, ERR_REFUSED, EBUSY, "somebody else has frozen %s, or a cgroup above it", dir);
	return err_remedy(e, "thaw it (cgroup.freeze), or try again");
}

int cgroup_freeze(const char *dir, uint64_t deadline)
{
	int r = poke(dir, "cgroup.freeze", "1");

	return r < 0 ? r : wait_event(dir, "frozen 1", deadline);
}

int cgroup_thaw(const char *dir)
{
	return poke(dir, "cgroup.freeze", "0");
}

static bool is_traced(pid_t pid)
{
	return process_tracer(pid) != 0;
}

int cgroup_thaw_for_good(const char *dir, uint64_t deadline)
{
	struct timespec tick = {.tv_nsec = 20 * (long)NSEC_PER_MSEC};
	uint64_t quiet_since = clock_now();
	int r = cgroup_thaw(dir);

	while (r == 0 && clock_diff_ms(quiet_since, clock_now()) < QUIET_MS) {
		/* CRIU asks while its tasks still can't freeze. */
		bool traced = cgroup_find(dir, is_traced) != 0, frozen = cgroup_freeze_is_asked(dir);

		if (traced || frozen)
			quiet_since = clock_now();
		if (frozen && !traced)
			r = cgroup_thaw(dir);
		if (deadline_passed(deadline))
			return -ETIMEDOUT;
		nanosleep(&tick, NULL);
	}
	return r;
}

int cgroup_kill(const char *dir, uint64_t deadline)
{
	int r = poke(dir, "cgroup.kill", "1");

	if (r == -ENOENT || r == -ENODEV)
		return 0;
	return r < 0 ? r : wait_event(dir, "populated 0", deadline);
}

/* Those below it first. */
static void remove_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		char path[PATH_MAX];

		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
			snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) < (int)sizeof(path))
			remove_all(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

void cgroup_remove_default(const char *id, uint64_t deadline)
{
	char own[PATH_MAX], path[PATH_MAX];

	if (cgroup_own(own, sizeof(own)) < 0 ||
		snprintf(path, sizeof(path), "%s/%s", own, id) >= (int)sizeof(path))
		return;
	wait_event(path, "populated 0", deadline);
	remove_all(path);
}

struct pids {
	pid_t *v;
	size_t n;
};

static int read_procs(const char *dir, struct pids *list)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX], *p;
	int r;

	if (snprintf(path, sizeof(path), "%s/cgroup.procs", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = file_read(path, FILE_MAX_BYTES, &text, NULL);
	if (r < 0)
		return r;
	for (p = text; *p;) {
		char *end;
		long pid = strtol(p, &end, 10);
		pid_t *bigger;

		if (end == p)
			break;
		bigger = realloc(list->v, (list->n + 1) * sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		list->v = bigger;
		list->v[list->n++] = (pid_t)pid;
		p = end + (*end == '\n');
	}
	return 0;
}

static int walk(const char *dir, struct pids *list)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int r;

	if (!d)
		return -errno;
	r = read_procs(dir, list);
	while (r == 0 && (entry = readdir(d))) {
		char path[PATH_MAX];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= (int)sizeof(path))
			r = -ENAMETOOLONG;
		else
			r = walk(path, list);
	}
	closedir(d);
	return r;
}

int cgroup_processes(const char *dir, pid_t **ret, size_t *ret_n)
{
	struct pids list = {0};
	int r = walk(dir, &list);

	if (r < 0) {
		free(list.v);
		return r;
	}
	*ret = list.v;
	*ret_n = list.n;
	return 0;
}

pid_t cgroup_find(const char *dir, bool (*is)(pid_t pid))
{
	pid_t *pids = NULL, found = 0;
	size_t n = 0;

	if (cgroup_processes(dir, &pids, &n) < 0)
		return 0;
	for (size_t i = 0; found == 0 && i < n; i++)
		if (is(pids[i]))
			found = pids[i];
	free(pids);
	return found;
}
