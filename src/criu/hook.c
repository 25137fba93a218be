/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/hook.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8
#define CALL_TIMEOUT_MS 2000 /* for the program to say which step it is */

/* The program's file, see hook_program.c and this directory's meson.build. */
extern const unsigned char hook_program_start[], hook_program_end[];

static int listen_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || chmod(path, 0600) < 0 ||
		listen(fd, BACKLOG) < 0)
		return -errno;
	return fd_take(&fd);
}

int hooks_open(struct hooks *h, const char *dir, struct err *e)
{
	int r;

	*h = HOOKS_INIT;
	if (snprintf(h->socket, sizeof(h->socket), "%s/hook.sock", dir) >= (int)sizeof(h->socket))
		return err_sys(e, ENAMETOOLONG, "socket in %s", dir);
	snprintf(h->program, sizeof(h->program), "%s/hook", dir);
	r = file_write_program(h->program, hook_program_start, hook_program_end);
	if (r < 0)
		return err_sys(e, -r, "writing %s", h->program);
	h->listener = listen_at(h->socket);
	return h->listener < 0 ? err_sys(e, -h->listener, "socket %s", h->socket) : 0;
}

void hooks_done(struct hooks *h)
{
	fd_close(&h->listener);
}

static void end_call(struct hook_call *c)
{
	for (size_t i = 0; i < c->n_fds; i++)
		fd_close(&c->fds[i]);
	c->n_fds = 0;
	fd_close(&c->fd);
}

/* One message: a name that ends with a zero byte, and descriptors maybe. */
static int read_call(struct hook_call *c)
{
	size_t n_fds = sizeof(c->fds) / sizeof(c->fds[0]);
	int r = fd_wait(c->fd, POLLIN, deadline_in_ms(CALL_TIMEOUT_MS));
	ssize_t n = r < 0 ? r : fd_recv(c->fd, c->action, sizeof(c->action), c->fds, &n_fds);

	if (n < 0)
		return (int)n;
	c->n_fds = n_fds;
	return n > 0 && c->action[n - 1] == '\0' ? 0 : -EBADMSG;
}

int hooks_next(struct hooks *h, struct hook_call *ret, uint64_t deadline, struct err *e)
{
	int r = fd_wait(h->listener, POLLIN, deadline);

	*ret = HOOK_CALL_INIT;
	if (r < 0)
		return r == -ETIMEDOUT ? r : err_sys(e, -r, "waiting for CRIU");
	ret->fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	if (ret->fd < 0)
		return err_sys(e, errno, "call from CRIU");
	r = read_call(ret);
	if (r < 0) {
		end_call(ret);
		return err_sys(e, -r, "call from CRIU's action script");
	}
	return 0;
}

void hook_answer(struct hook_call *c, bool yes)
{
	char answer = yes ? 'y' : 'n';

	if (c->fd < 0)
		return;
	/* If it can't be written the program sees the end of the connection: no. */
	fd_write_all(c->fd, &answer, 1, deadline_in_ms(CALL_TIMEOUT_MS));
	end_call(c);
}
