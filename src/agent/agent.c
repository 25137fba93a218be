/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include "agent/connection.h"
#include "base/clock.h"
#include "base/fd.h"
#include "migrate/recover.h"
#include "wire/identity.h"
#include "wire/peers.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BACKLOG 64
#define CHILDREN_MAX 128
/* Connections that have not authenticated themselves yet; more wait in the backlog. */
#define STRANGERS_MAX 16
#define RECOVERIES_MAX 64

struct handler {
	int pidfd;    /* owned; readable when it has ended */
	int stranger; /* owned; ends when the peer has authenticated itself; -1 afterwards */
};

struct agent {
	const struct agent_options *o;
	struct identity identity;
	int listener, signals;
	struct handler handlers[CHILDREN_MAX];
	size_t n, n_strangers;
};

/* --- listening -------------------------------------------------------------------------------- */

/* "7342" is a port, everything else an address as peers have it. */
static int split_listen(const char *text, char host[static 256], char port[static 6])
{
	if (!text)
		text = "";
	if (strspn(text, "0123456789") == strlen(text) && strlen(text) < 6) {
		host[0] = '\0';
		snprintf(port, 6, "%s", *text ? text : "7342");
		return 0;
	}
	return peer_address_split(text, host, port);
}

static int listen_on(const struct addrinfo *a)
{
	_cleanup_close_ int fd =
		socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return fd_take(&fd);
}

static int open_listener(struct agent *a, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
	char host[256], port[6];
	int r = split_listen(a->o->listen, host, port);

	if (r < 0)
		return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no address to listen on",
			a->o->listen);
	/* One socket for both families, where the kernel has IPv6. */
	if (!host[0])
		hints.ai_family = access("/proc/net/if_inet6", F_OK) == 0 ? AF_INET6 : AF_INET;
	r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (r != 0)
		return err_set(e, ERR_LOCAL, EADDRNOTAVAIL, "listening on %s: %s", host,
			gai_strerror(r));
	a->listener = -EADDRNOTAVAIL;
	for (const struct addrinfo *i = list; i && a->listener < 0; i = i->ai_next)
		a->listener = listen_on(i);
	freeaddrinfo(list);
	if (a->listener >= 0)
		return 0;
	err_sys(e, -a->listener, "listening on port %s", port);
	if (e->code == EADDRINUSE)
		err_remedy(e, "is an agent running already? 'ss -ltnp sport = :%s' shows it", port);
	return -e->code;
}

/* --- handlers --------------------------------------------------------------------------------- */

static void remove_handler(struct agent *a, size_t i)
{
	siginfo_t info;

	/* P_PIDFD */
	waitid(3, (id_t)a->handlers[i].pidfd, &info, WEXITED | WNOHANG);
	if (a->handlers[i].stranger >= 0)
		a->n_strangers--;
	fd_close(&a->handlers[i].stranger);
	fd_close(&a->handlers[i].pidfd);
	a->handlers[i] = a->handlers[--a->n];
}

static void no_stranger(struct agent *a, size_t i)
{
	fd_close(&a->handlers[i].stranger);
	a->n_strangers--;
}

/* In the child: nothing of the agent's is its own. */
static void leave_agent(struct agent *a)
{
	fd_close(&a->listener);
	fd_close(&a->signals);
	for (size_t i = 0; i < a->n; i++) {
		fd_close(&a->handlers[i].pidfd);
		fd_close(&a->handlers[i].stranger);
	}
}

__attribute__((noreturn)) static void handle(struct agent *a, int fd, int authenticated)
{
	leave_agent(a);
	_exit(connection_handle(fd, &a->identity, a->o->config_dir, authenticated));
}

static void start_handler(struct agent *a, int fd)
{
	struct handler *h = &a->handlers[a->n];
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		handle(a, fd, ends[1]);
	}
	close(ends[1]);
	h->stranger = ends[0];
	h->pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (h->pidfd < 0) {
		fprintf(stderr, "godwit: no process for a connection: %s\n", strerror(errno));
		close(ends[0]);
		return;
	}
	a->n++;
	a->n_strangers++;
}

static void accept_one(struct agent *a)
{
	int fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	start_handler(a, fd);
	close(fd);
}

/* --- what died before the agent came ---------------------------------------------------------- */

__attribute__((noreturn)) static void recover(struct agent *a, const struct journal_entry *j)
{
	const struct recovery_means means = {.config_dir = a->o->config_dir, .patient = true};
	enum recovery how = RECOVERY_BUSY;
	struct err e = ERR_INIT;
	int r;

	leave_agent(a);
	r = recover_entry(j, &means, &how, &e);
	if (r < 0 || how == RECOVERY_DOUBT)
		fprintf(stderr, "godwit: %s is not settled: %s\n", j->container, e.text);
	else if (how != RECOVERY_BUSY && how != RECOVERY_RUNS)
		fprintf(stderr, "godwit: %s is settled\n", j->container);
	_exit(r < 0);
}

/* Each in a process of its own: what is to be asked may take a while. */
static void start_recoveries(struct agent *a)
{
	struct journal_entry *v;
	size_t n;

	if (journal_list(&v, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n && a->n < RECOVERIES_MAX; i++) {
		pid_t pid = v[i].alive ? -1 : fork();

		if (pid == 0)
			recover(a, &v[i]);
		if (pid > 0)
			a->handlers[a->n++] = (struct handler){
				.pidfd = (int)syscall(SYS_pidfd_open, pid, 0), .stranger = -1};
	}
	free(v);
}

/* --- the loop --------------------------------------------------------------------------------- */

static size_t list_fds(const struct agent *a, struct pollfd *p)
{
	bool full = a->n == CHILDREN_MAX || a->n_strangers == STRANGERS_MAX;
	size_t n = 0;

	p[n++] = (struct pollfd){.fd = a->signals, .events = POLLIN};
	p[n++] = (struct pollfd){.fd = full ? -1 : a->listener, .events = POLLIN};
	for (size_t i = 0; i < a->n; i++) {
		p[n++] = (struct pollfd){.fd = a->handlers[i].pidfd, .events = POLLIN};
		p[n++] = (struct pollfd){.fd = a->handlers[i].stranger, .events = POLLIN};
	}
	return n;
}

static int loop(struct agent *a, struct err *e)
{
	struct pollfd p[2 + 2 * CHILDREN_MAX];

	for (;;) {
		size_t n = list_fds(a, p);

		if (poll(p, n, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(e, errno, "poll");
		}
		if (p[0].revents)
			return 0;
		/* From the end, since removing moves the last one. */
		for (size_t i = a->n; i > 0; i--) {
			if (p[2 * i + 1].revents && a->handlers[i - 1].stranger >= 0)
				no_stranger(a, i - 1);
			if (p[2 * i].revents)
				remove_handler(a, i - 1);
		}
		if (p[1].revents)
			accept_one(a);
	}
}

static int watch_signals(struct agent *a, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signals < 0 ? err_sys(e, errno, "signals") : 0;
}

int agent_run(const struct agent_options *o, struct err *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	char text[FINGERPRINT_TEXT];
	int r;

	if (!a)
		return err_sys(e, ENOMEM, "agent");
	a->o = o;
	a->listener = a->signals = -1;
	r = identity_load(o->config_dir, &a->identity, e);
	if (r == 0)
		r = watch_signals(a, e);
	if (r == 0)
		r = open_listener(a, e);
	if (r == 0)
		start_recoveries(a);
	if (r == 0) {
		fingerprint_format(a->identity.fingerprint, text);
		fprintf(stderr, "godwit: agent %s listens, key %s\n", GODWIT_VERSION, text);
		sd_notify(0, "READY=1\nSTATUS=waiting for migrations");
		r = loop(a, e);
		sd_notify(0, "STOPPING=1");
	}
	while (a->n > 0)
		remove_handler(a, a->n - 1);
	fd_close(&a->listener);
	fd_close(&a->signals);
	identity_done(&a->identity);
	free(a);
	return r;
}
