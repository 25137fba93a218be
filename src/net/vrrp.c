/* SPDX-License-Identifier: Apache-2.0 */
#include "net/vrrp.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#define STATE_MAX 64
#define STATE_LOOKS 20
#define STATE_AGAIN_US 1000
#define LOCK_AGAIN_US 20000

int vrrp_init(struct vrrp *v, const char *name)
{
	size_t len = strlen(name);

	*v = (struct vrrp){0};
	if (len == 0 || len >= sizeof(v->name))
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-')
			return -EINVAL;
	memcpy(v->name, name, len + 1);
	return 0;
}

static void path_of(const struct vrrp *v, const char *what, char ret[static 64])
{
	snprintf(ret, 64, "/run/vrrp-%s.%s", v->name, what);
}

void vrrp_track_path(const struct vrrp *v, char ret[static 64])
{
	path_of(v, "track", ret);
}

static const char *const names[] = {
	[VRRP_UNKNOWN] = "unknown", [VRRP_BACKUP] = "BACKUP", [VRRP_MASTER] = "MASTER", [VRRP_FAULT] = "FAULT"};

const char *vrrp_state_name(enum vrrp_state state)
{
	return names[state];
}

/* Empty while the script writes it. */
static int read_state(const struct vrrp *v, char **ret)
{
	char path[64];
	int r;

	path_of(v, "state", path);
	for (unsigned i = 0; i < STATE_LOOKS; i++) {
		r = file_read(path, STATE_MAX, ret, NULL);
		if (r < 0 || (*ret)[0] != '\0')
			return r;
		free(*ret);
		*ret = NULL;
		usleep(STATE_AGAIN_US);
	}
	return -ENODATA;
}

enum vrrp_state vrrp_state(const struct vrrp *v)
{
	_cleanup_free_ char *text = NULL;

	if (read_state(v, &text) < 0)
		return VRRP_UNKNOWN;
	text[strcspn(text, "\n")] = '\0';
	for (size_t i = VRRP_BACKUP; i <= VRRP_FAULT; i++)
		if (strcmp(text, names[i]) == 0)
			return (enum vrrp_state)i;
	return VRRP_UNKNOWN;
}

/* It is not made here: keepalived doesn't look at a file that it has not been told of. */
static int open_track(const struct vrrp *v, int flags)
{
	char path[64];
	int fd;

	vrrp_track_path(v, path);
	fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | flags);
	return fd < 0 ? -errno : fd;
}

int vrrp_steerable(const struct vrrp *v)
{
	_cleanup_close_ int fd = open_track(v, 0);

	return fd < 0 ? fd : 0;
}

int vrrp_wish(const struct vrrp *v, enum vrrp_wish wish)
{
	_cleanup_close_ int fd = open_track(v, O_TRUNC);

	if (fd < 0)
		return fd;
	/* keepalived reads it when it is closed. */
	return dprintf(fd, "%d\n", (int)wish) < 0 ? -errno : 0;
}

int vrrp_lock(const struct vrrp *v, uint64_t deadline)
{
	_cleanup_close_ int fd = open_track(v, 0);

	if (fd < 0)
		return fd;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (deadline_passed(deadline))
			return -ETIMEDOUT;
		usleep(LOCK_AGAIN_US);
	}
	return fd_take(&fd);
}

int vrrp_watch(const struct vrrp *v)
{
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[64];

	path_of(v, "state", path);
	if (fd < 0 || inotify_add_watch(fd, path, IN_CLOSE_WRITE) < 0)
		return -errno;
	return fd_take(&fd);
}

void vrrp_watched(int fd)
{
	char room[1024];

	while (read(fd, room, sizeof(room)) > 0)
		;
}

int vrrp_wait(const struct vrrp *v, enum vrrp_state state, uint64_t deadline)
{
	_cleanup_close_ int fd = vrrp_watch(v);
	int r = fd < 0 ? fd : 0;

	while (r == 0 && vrrp_state(v) != state) {
		r = fd_wait(fd, POLLIN, deadline);
		vrrp_watched(fd);
	}
	return r;
}
