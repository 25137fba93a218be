/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include "agent/connection.h"
#include "base/clock.h"
#include "base/fd.h"
#include "migrate/door.h"
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

#define BACKLOG 256
#define CHILDREN_MAX 256
#define RECOVERIES_MAX 64
#define DROP_MS 1000

struct handler {
	int pidfd;    /* owned; readable when it has ended */
	int requests; /* owned socket; -1 when it has been closed at the other end */
};

struct agent {
	const struct agent_options *o;
	struct identity identity;
	int listener, signals;
	struct handler handlers[CHILDREN_MAX];
	struct client clients[CHILDREN_MAX]; /* of the same number */
	size_t n;
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
	bool known = a->clients[i].known;
	siginfo_t info;

	/* P_PIDFD */
	waitid(3, (id_t)a->handlers[i].pidfd, &info, WEXITED | WNOHANG);
	fd_close(&a->handlers[i].requests);
	fd_close(&a->handlers[i].pidfd);
	a->n--;
	a->handlers[i] = a->handlers[a->n];
	a->clients[i] = a->clients[a->n];
	/* A stranger's never had a door. */
	if (known)
		doors_sweep();
}

/* One of a peer that has not shown who it is, so nothing is lost. */
static void drop_handler(struct agent *a, size_t i)
{
	int pidfd = a->handlers[i].pidfd;

	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	fd_wait(pidfd, POLLIN, deadline_in_ms(DROP_MS));
	remove_handler(a, i);
}

static void answer_handler(struct agent *a, size_t i)
{
	struct guest_request request;
	int fd = a->handlers[i].requests;
	uint8_t answer;

	if (recv(fd, &request, sizeof(request), MSG_DONTWAIT) != sizeof(request)) {
		fd_close(&a->handlers[i].requests);
		return;
	}
	answer = (uint8_t)quota_answer(&a->o->quota, a->clients, a->n, i, &request);
	send(fd, &answer, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* In the child: nothing of the agent's is its own. */
static void leave_agent(struct agent *a)
{
	fd_close(&a->listener);
	fd_close(&a->signals);
	for (size_t i = 0; i < a->n; i++) {
		fd_close(&a->handlers[i].pidfd);
		fd_close(&a->handlers[i].requests);
	}
}

__attribute__((noreturn)) static void handle(struct agent *a, int fd, int requests)
{
	leave_agent(a);
	_exit(connection_handle(fd, &a->identity, a->o->config_dir, requests));
}

static void start_handler(struct agent *a, int fd, const struct in6_addr *from)
{
	struct handler *h = &a->handlers[a->n];
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		handle(a, fd, ends[1]);
	}
	close(ends[1]);
	h->requests = ends[0];
	h->pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (h->pidfd < 0) {
		fprintf(stderr, "godwit: no process for a connection: %s\n", strerror(errno));
		close(ends[0]);
		return;
	}
	a->clients[a->n++] = (struct client){.from = *from, .since = clock_now()};
}

static void accept_one(struct agent *a)
{
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);
	int fd = accept4(a->listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
	struct in6_addr origin;
	size_t surplus;

	if (fd < 0)
		return;
	origin = quota_origin((struct sockaddr *)&from);
	if (quota_admits(&a->o->quota, a->clients, a->n, &origin)) {
		surplus = quota_surplus(&a->o->quota, a->clients, a->n);
		if (surplus < a->n)
			drop_handler(a, surplus);
		start_handler(a, fd, &origin);
	}
	close(fd);
}

/* --- what died before the agent came ---------------------------------------------------------- */

__attribute__((noreturn)) static void recover(struct agent *a, struct journal_entry *j)
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
		if (pid <= 0)
			continue;
		a->clients[a->n] = (struct client){.known = true};
		a->handlers[a->n++] = (struct handler){
			.pidfd = (int)syscall(SYS_pidfd_open, pid, 0), .requests = -1};
	}
	free(v);
}

/* --- the loop --------------------------------------------------------------------------------- */

static size_t list_fds(const struct agent *a, struct pollfd *p)
{
	bool full = a->n == CHILDREN_MAX;
	size_t n = 0;

	p[n++] = (struct pollfd){.fd = a->signals, .events = POLLIN};
	p[n++] = (struct pollfd){.fd = full ? -1 : a->listener, .events = POLLIN};
	for (size_t i = 0; i < a->n; i++) {
		p[n++] = (struct pollfd){.fd = a->handlers[i].pidfd, .events = POLLIN};
		p[n++] = (struct pollfd){.fd = a->handlers[i].requests, .events = POLLIN};
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
			if (p[2 * i + 1].revents)
				answer_handler(a, i - 1);
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
