/* SPDX-License-Identifier: Apache-2.0 */
#include "net/netns.h"

#include "base/child.h"
#include "base/fd.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#define HERE "/proc/thread-self/ns/net"

/* As ip(8) does: what is mounted or unmounted there is so in all mount namespaces of the host. */
static int share_directory(const char *path)
{
	char copy[PATH_MAX];
	const char *dir;
	int r;

	snprintf(copy, sizeof(copy), "%s", path);
	dir = dirname(copy);
	r = dir_make(dir, 0755);
	if (r < 0)
		return r;
	if (mount(NULL, dir, NULL, MS_SHARED | MS_REC, NULL) == 0)
		return 0;
	if (errno != EINVAL || mount(dir, dir, NULL, MS_BIND | MS_REC, NULL) < 0 ||
		mount(NULL, dir, NULL, MS_SHARED | MS_REC, NULL) < 0)
		return -errno;
	return 0;
}

/* In a process of its own, which has but to end to be out of the way. Exit code: an errno. */
static int in_child(int (*f)(const char *path, int mounts), const char *path, int mounts)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(f(path, mounts));
	return pid < 0 ? -errno : child_result(pid);
}

static int bind_new(const char *path, int mounts)
{
	(void)mounts;
	return unshare(CLONE_NEWNET) < 0 || mount(HERE, path, NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

int netns_make(const char *path)
{
	int r = share_directory(path), fd;

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	close(fd);
	r = in_child(bind_new, path, -1);
	if (r < 0)
		unlink(path);
	return r;
}

int netns_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int remove_path(const char *path, int mounts)
{
	if (mounts >= 0 && setns(mounts, CLONE_NEWNS) < 0)
		return errno;
	if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
		return errno;
	return unlink(path) < 0 && errno != ENOENT ? errno : 0;
}

int netns_remove(const char *path, int mounts)
{
	return in_child(remove_path, path, mounts);
}

int netns_enter(int ns, int *ret_back)
{
	_cleanup_close_ int here = -1;

	*ret_back = -1;
	if (ns < 0)
		return 0;
	here = open(HERE, O_RDONLY | O_CLOEXEC);
	if (here < 0 || setns(ns, CLONE_NEWNET) < 0)
		return -errno;
	*ret_back = fd_take(&here);
	return 0;
}

/* In a network where it doesn't belong this process could only do harm. */
void netns_leave(int *back)
{
	if (*back >= 0 && setns(*back, CLONE_NEWNET) < 0)
		abort();
	fd_close(back);
}
