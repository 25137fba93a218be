/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/door.h"

#include "base/fd.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DIR_PATH "/run/godwit/doors"
#define BACKLOG 32
#define SOCKETS "/proc/net/unix"
#define SOCKETS_MAX (16u << 20)

static void door_address(const uint8_t token[static ROUTE_LEN], struct sockaddr_un *ret)
{
	size_t n;

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = (size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/", DIR_PATH);
	for (size_t i = 0; i < ROUTE_LEN; i++)
		n += (size_t)snprintf(ret->sun_path + n, sizeof(ret->sun_path) - n, "%02x", token[i]);
}

/* While it is held no door is being made: a file that no socket has is of a process that was killed. */
static int lock_doors(int how)
{
	_cleanup_close_ int dir = open(DIR_PATH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 || flock(dir, how) < 0 ? -errno : fd_take(&dir);
}

static void sweep(int dir)
{
	_cleanup_free_ char *sockets = NULL;
	int copy = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!d) {
		fd_close(&copy);
		return;
	}
	if (file_read(SOCKETS, SOCKETS_MAX, &sockets, NULL) == 0)
		while ((entry = readdir(d)))
			if (entry->d_type == DT_SOCK && !strstr(sockets, entry->d_name))
				unlinkat(dir, entry->d_name, 0);
	closedir(d);
}

void doors_sweep(void)
{
	_cleanup_close_ int dir = lock_doors(LOCK_EX | LOCK_NB);

	if (dir >= 0)
		sweep(dir);
}

int door_open(struct door *d, const uint8_t token[static ROUTE_LEN], struct err *e)
{
	_cleanup_close_ int dir = -1;
	struct sockaddr_un at;
	int r = dir_make(DIR_PATH, 0700);

	*d = DOOR_INIT;
	if (r < 0)
		return err_sys(e, -r, "making %s", DIR_PATH);
	dir = lock_doors(LOCK_EX);
	if (dir < 0)
		return err_sys(e, -dir, "opening %s", DIR_PATH);
	sweep(dir);
	door_address(token, &at);
	d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->listener < 0 || bind(d->listener, (struct sockaddr *)&at, sizeof(at)) < 0)
		return err_sys(e, errno, "socket %s", at.sun_path);
	snprintf(d->path, sizeof(d->path), "%s", at.sun_path);
	if (chmod(at.sun_path, 0600) < 0 || listen(d->listener, BACKLOG) < 0)
		return err_sys(e, errno, "socket %s", at.sun_path);
	return 0;
}

void door_done(struct door *d)
{
	fd_close(&d->listener);
	if (d->path[0])
		unlink(d->path);
	d->path[0] = '\0';
}

void visitor_close(struct visitor *v)
{
	if (v->out != v->in)
		fd_close(&v->out);
	fd_close(&v->in);
}

int door_next(struct door *d, struct visitor *ret, uint64_t deadline, struct err *e)
{
	_cleanup_close_ int hold = -1;
	int fds[2] = {-1, -1}, r = fd_wait(d->listener, POLLIN, deadline);
	size_t n = 2;
	char tls;

	if (r < 0)
		return err_set(e, ERR_PEER, -r, "the peer's further connections did not come");
	hold = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
	if (hold < 0)
		return err_sys(e, errno, "connection through the door");
	r = fd_wait(hold, POLLIN, deadline);
	if (r < 0 || fd_recv(hold, &tls, 1, fds, &n) != 1 || n == 0)
		return err_set(e, ERR_LOCAL, EBADMSG, "nothing came through the door");
	*ret = (struct visitor){.in = fds[0], .out = n == 2 ? fds[1] : fds[0], .tls = tls == 't'};
	ret->hold = fd_take(&hold);
	return 0;
}

int door_pass(const uint8_t token[static ROUTE_LEN], int in, int out, bool tls)
{
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fds[2] = {in, out}, r;
	struct sockaddr_un at;
	char byte = tls ? 't' : 'p';

	door_address(token, &at);
	if (s < 0 || connect(s, (struct sockaddr *)&at, sizeof(at)) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	r = fd_send(s, &byte, 1, fds, in == out ? 1 : 2);
	return r < 0 ? r : fd_take(&s);
}
