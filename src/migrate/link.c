/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/link.h"

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/porter.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SSH_PREFIX "ssh://"
/* A Ctrl-C doesn't end it: it is for us to say what becomes of the migration, and beyond the commit it goes on. */
static const char ssh_command[] =
	"trap '' INT HUP; "
	"exec ssh -T -o BatchMode=yes -o ServerAliveInterval=5 -- \"$0\" godwit serve <&3 >&3";

int link_init(struct link *l, const char *target, const struct identity *self,
	const struct peers *peers, struct err *e)
{
	*l = (struct link){.self = self};
	if (strncmp(target, SSH_PREFIX, strlen(SSH_PREFIX)) == 0) {
		l->ssh_host = target + strlen(SSH_PREFIX);
		if (*l->ssh_host && *l->ssh_host != '-')
			return 0;
		return err_set(e, ERR_USAGE, EINVAL, "\"%s\" names no host", target);
	}
	l->peer = peers_by_name(peers, target);
	if (l->peer)
		return 0;
	err_set(e, ERR_REFUSED, ENOENT, "no peer \"%s\" is known here", target);
	return err_remedy(e, "run 'godwit id' on %s, and here the line that it prints; "
			     "or use ssh://%s", target, target);
}

void link_close(struct link *l)
{
	for (size_t i = 0; i < l->n_ssh; i++)
		child_done(&l->ssh[i]);
	l->n_ssh = 0;
}

void link_key(const struct link *l, char ret[static FINGERPRINT_TEXT])
{
	ret[0] = '\0';
	if (l->peer)
		fingerprint_format(l->peer->fingerprint, ret);
}

static int connect_one(const struct addrinfo *a, uint64_t deadline)
{
	_cleanup_close_ int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(int);
	int error = 0, r;

	if (fd < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	r = fd_wait(fd, POLLOUT, deadline);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return error ? -error : fd_take(&fd);
}

static int connect_peer(const struct peer *p, uint64_t deadline, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	char host[256], port[6];
	int fd = -EHOSTUNREACH, r;

	peer_address_split(p->address, host, port);
	r = getaddrinfo(host, port, &hints, &list);
	if (r != 0)
		return err_set(e, ERR_PEER, EHOSTUNREACH, "%s: %s", host, gai_strerror(r));
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = connect_one(a, deadline);
	freeaddrinfo(list);
	if (fd >= 0)
		return fd;
	err_set(e, ERR_PEER, -fd, "%s (%s port %s): %s", p->name, host, port, strerror(-fd));
	return err_remedy(e, "is the agent running there? systemctl start godwit-agent, or "
			     "'godwit agent'; is TCP port %s open?", port);
}

static bool trust_peer(const uint8_t f[static FINGERPRINT_LEN], void *ctx)
{
	const struct peer *p = ctx;

	return memcmp(p->fingerprint, f, FINGERPRINT_LEN) == 0;
}

static int open_tls(struct link *l, const uint8_t preamble[static PREAMBLE_LEN], enum msg_channel kind,
	struct transport **ret, uint64_t deadline, struct err *e)
{
	const struct porter_call call = {.kind = kind, .name = l->peer->name};
	int fd = connect_peer(l->peer, deadline, e), r;

	if (fd < 0)
		return fd;
	r = fd_write_all(fd, preamble, PREAMBLE_LEN, deadline);
	if (r < 0) {
		close(fd);
		return err_set(e, ERR_PEER, -r, "%s: %s", l->peer->name, strerror(-r));
	}
	return porter_call_tls(fd, l->self, trust_peer, (void *)l->peer, &call, deadline, ret, e);
}

/* ssh's standard input and output are one end of a socket pair. */
static int open_ssh(struct link *l, const uint8_t preamble[static PREAMBLE_LEN], enum msg_channel kind,
	struct transport **ret, uint64_t deadline, struct err *e)
{
	const struct porter_call call = {.kind = kind, .name = l->ssh_host};
	const char *argv[] = {"sh", "-c", ssh_command, l->ssh_host, NULL};
	int sv[2], r;

	if (l->n_ssh == LINK_SSH_MAX)
		return err_set(e, ERR_LOCAL, E2BIG, "too many connections");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_sys(e, errno, "socket pair for ssh");
	/* Another ssh, through which it goes (ProxyJump), may ask for something. */
	struct child_opts o = {.argv = argv, .keep_fds = &sv[1], .n_keep_fds = 1, .on_terminal = true};
	r = child_start(&l->ssh[l->n_ssh], &o);
	close(sv[1]);
	if (r < 0) {
		close(sv[0]);
		return err_sys(e, -r, "starting ssh");
	}
	l->n_ssh++;
	r = fd_write_all(sv[0], preamble, PREAMBLE_LEN, deadline);
	if (r < 0) {
		close(sv[0]);
		return err_set(e, ERR_PEER, -r, "ssh %s: %s", l->ssh_host, strerror(-r));
	}
	return porter_call_plain(sv[0], &call, deadline, ret, e);
}

/* It may have ended before anything was written to it, or after. */
static int suspect_ssh(const struct link *l, struct err *e)
{
	if (!l->peer && (e->code == EPIPE || e->code == ECONNRESET))
		err_remedy(e, "does 'ssh %s godwit --version' work without a password?", l->ssh_host);
	return -e->code;
}

int link_open(struct link *l, enum msg_channel kind, uint8_t index,
	const uint8_t token[static MSG_ID_LEN], struct channel *ret, uint64_t deadline,
	struct err *e)
{
	uint8_t preamble[PREAMBLE_LEN];
	struct transport *t = NULL;
	int r;

	preamble_put(preamble, token);
	r = l->peer ? open_tls(l, preamble, kind, &t, deadline, e) : open_ssh(l, preamble, kind, &t, deadline, e);
	if (r < 0)
		return suspect_ssh(l, e);
	channel_init(ret, t, kind, true);
	snprintf(ret->peer, sizeof(ret->peer), "%s", l->peer ? l->peer->name : l->ssh_host);
	r = channel_hello(ret, index, token, NULL, deadline, e);
	if (r == 0)
		return 0;
	channel_done(ret);
	return suspect_ssh(l, e);
}
