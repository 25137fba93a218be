/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/lazy.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RESTORE_FINISHED 0x52535446u

int lazy_socket_open(struct lazy_socket *s, const char *dir, struct err *e)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	*s = LAZY_SOCKET_INIT;
	if (snprintf(at.sun_path, sizeof(at.sun_path), "%s/lazy-pages.socket", dir) >=
		(int)sizeof(at.sun_path))
		return err_sys(e, ENAMETOOLONG, "socket in %s", dir);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
		listen(s->listener, 1) < 0)
		return err_sys(e, errno, "socket %s", at.sun_path);
	return 0;
}

void lazy_socket_done(struct lazy_socket *s)
{
	fd_close(&s->listener);
	fd_close(&s->peer);
}

static int receive_uffd(int sock, uint64_t deadline, struct lazy_task *ret, struct err *e)
{
	char byte[16];
	int fds[1];
	size_t n = 1;
	ssize_t got;
	int r = fd_wait(sock, POLLIN, deadline);

	if (r < 0)
		return err_sys(e, -r, "userfaultfd from CRIU");
	got = fd_recv(sock, byte, 1, fds, &n);
	if (got < 0 || n != 1)
		return err_set(e, ERR_LOCAL, got < 0 ? (int)-got : EBADMSG,
			"CRIU sent no userfaultfd for process %u", ret->vpid);
	ret->uffd = fds[0];
	return 1;
}

int lazy_socket_next(struct lazy_socket *s, struct lazy_task *ret, uint64_t deadline, struct err *e)
{
	int32_t pid;
	int r;

	*ret = (struct lazy_task){.uffd = -1};
	if (s->peer < 0) {
		s->peer = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		return s->peer < 0 ? err_sys(e, errno, "connection of CRIU's restore") : 0;
	}
	r = fd_read_all(s->peer, &pid, sizeof(pid), deadline);
	if (r == -EPIPE)
		return 1;
	if (r < 0)
		return err_sys(e, -r, "process from CRIU");
	if ((uint32_t)pid == RESTORE_FINISHED)
		return 1;
	if (pid < 0)
		return 0;
	ret->vpid = (uint32_t)pid;
	return receive_uffd(s->peer, deadline, ret, e);
}
