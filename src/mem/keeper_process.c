/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's process. It has one thread, whose loop is the fault server's (mem/server.h): the
 * requests of the worker's lines are watches of it. It can therefore fork a worker at any time.
 */
#include "mem/keeper_impl.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/thread.h"
#include "kernel/uffd.h"
#include "mem/anchor.h"
#include "mem/server.h"
#include "mem/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADDRESS_MAX (1ull << 57) /* of any process: five levels of page tables on x86-64 */
#define WISHES_MAX 1024
#define ZEROS_MAX (1u << 20)	 /* pages */
#define FEW_PAGES 16		 /* in a request, and */
#define FEW_REQUESTS 16		 /* of them, while a fault waits some 50 us */
#define TICKS_TO_DIE 2		 /* CRIU takes milliseconds to kill what it has restored */
#define EXPECT_FACTOR 16	 /* processes may share or swap what they have */
#define OOM_ADJ "/proc/self/oom_score_adj"

struct line {
	struct keeper_process *k;
	size_t index;
};

struct keeper_process {
	struct keeper_config config;
	struct keeper_link link; /* with the worker, if there is one */
	struct line lines[KEEPER_LINES];
	struct pager *pager;
	struct server *server;
	struct anchor anchor;
	struct thread_priority priority;
	struct ranges expected; /* of the process that is being expected */
	pid_t worker;		/* our child, in place of one that died; 0: none */
	bool has_worker, owned, ran, done;
	unsigned ticks; /* without a worker */
	sigset_t signals; /* as they were */
	char *oom_adj;	  /* the same; owned */
};

/* --- telling the worker ---------------------------------------------------------------------- */

/* A worker that doesn't listen is told nothing; nothing here waits for it. */
static void tell(struct keeper_process *k, enum keeper_event_kind kind, uint32_t number, const char *text)
{
	struct keeper_event v = {.kind = kind, .number = number};

	snprintf(v.text, sizeof(v.text), "%.*s", (int)sizeof(v.text) - 1, text);
	if (k->has_worker)
		send(k->link.events[1], &v, sizeof(v), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A wish that is lost costs time alone: the source pushes everything. */
static void ask(void *ctx, const struct pager_wish *wish)
{
	struct keeper_process *k = ctx;

	if (k->has_worker)
		send(k->link.wishes[1], wish, sizeof(*wish), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* --- requests -------------------------------------------------------------------------------- */

static bool is_sound(const struct keeper_request *q, uint32_t max)
{
	return q->pages > 0 && q->pages <= max && q->addr % PAGE_BYTES == 0 && q->addr < ADDRESS_MAX &&
		PAGES_TO_BYTES(q->pages) <= ADDRESS_MAX - q->addr;
}

static int put(struct keeper_process *k, size_t line, const struct keeper_request *q)
{
	if (!is_sound(q, KEEPER_ROOM_PAGES) ||
		block_of(q->addr) != block_of(q->addr + PAGES_TO_BYTES(q->pages) - 1))
		return -EINVAL;
	if (FAULT(keeper_page_put, NULL) < 0)
		return -EIO;
	return pager_put(k->pager, q->vpid, q->addr, q->pages, keeper_slot(&k->link, line, q->slot));
}

/* The memory is shared: what is checked is a copy. */
static int expect_some(struct keeper_process *k, const struct keeper_request *q)
{
	const uint8_t *p = keeper_slot(&k->link, KEEPER_CONTROL, q->slot);
	int r = 0;

	if (q->pages > KEEPER_ROOM / sizeof(struct range))
		return -EINVAL;
	for (uint32_t i = 0; r == 0 && i < q->pages; i++) {
		struct ranges *l = &k->expected;
		struct range x;

		memcpy(&x, p + i * sizeof(x), sizeof(x));
		if (x.start % PAGE_BYTES || x.end % PAGE_BYTES || x.start >= x.end ||
			x.end > ADDRESS_MAX || (l->n > 0 && x.start < l->v[l->n - 1].end))
			r = -EINVAL;
		else
			r = ranges_add(l, x.start, x.end);
	}
	if (r == 0 && ranges_bytes(&k->expected) / EXPECT_FACTOR > k->config.max_bytes)
		r = -E2BIG;
	if (r < 0)
		ranges_done(&k->expected);
	return r;
}

static int expect(struct keeper_process *k, const struct keeper_request *q)
{
	int r = pager_expect(k->pager, q->vpid, &k->expected);

	ranges_done(&k->expected);
	return r;
}

/* Takes *fd. */
static int add_view(struct keeper_process *k, const struct keeper_request *q, int *fd)
{
	struct err e = ERR_INIT;

	/* The kernel drops one for which there is no room. */
	if (*fd < 0)
		return -EMFILE;
	if (!uffd_is(*fd) || fd_set_nonblock(*fd) < 0)
		return -EINVAL;
	if (FAULT(keeper_view_came, NULL) < 0)
		return -EIO;
	return pager_add_view(k->pager, q->vpid, fd_take(fd), &e);
}

static int lacking(struct keeper_process *k, const struct keeper_request *q, struct keeper_reply *reply)
{
	_cleanup_ranges_ struct ranges lacks = RANGES_INIT;
	uint8_t *p = keeper_slot(&k->link, KEEPER_CONTROL, q->slot);
	int r = pager_lacking(k->pager, q->vpid, &reply->vpid, &lacks);

	for (size_t i = 0; r == 1 && i < lacks.n && reply->ranges < KEEPER_ROOM / sizeof(lacks.v[0]); i++)
		if (lacks.v[i].start >= q->addr)
			memcpy(p + sizeof(lacks.v[0]) * reply->ranges++, &lacks.v[i], sizeof(lacks.v[0]));
	return r < 0 ? r : 0;
}

static void ask_again(struct keeper_process *k)
{
	struct pager_wish wishes[WISHES_MAX];
	size_t n = pager_wishes(k->pager, wishes, WISHES_MAX);

	for (size_t i = 0; i < n; i++)
		ask(k, &wishes[i]);
}

static int control(struct keeper_process *k, const struct keeper_request *q, int *fd,
	struct keeper_reply *reply)
{
	switch (q->verb) {
	case KEEPER_EXPECT_SOME:
		return expect_some(k, q);
	case KEEPER_EXPECT:
		return expect(k, q);
	case KEEPER_DROP_OTHERS:
		pager_drop_others(k->pager);
		return 0;
	case KEEPER_ADD_VIEW:
		return add_view(k, q, fd);
	case KEEPER_OPEN:
		pager_open(k->pager);
		return 0;
	case KEEPER_STATS:
		reply->stats = pager_stats(k->pager);
		return 0;
	case KEEPER_LACKING:
		return lacking(k, q, reply);
	case KEEPER_ASK_AGAIN:
		ask_again(k);
		return 0;
	case KEEPER_GIVE_WAY:
		thread_priority_set(&k->priority, q->pages != 0);
		return 0;
	case KEEPER_OWN:
		k->owned = true;
		anchor_own(&k->anchor);
		return 0;
	case KEEPER_RUNS:
		k->ran = true;
		return 0;
	}
	return -EINVAL;
}

static int request(struct keeper_process *k, size_t line, const struct keeper_request *q, int *fd,
	struct keeper_reply *reply)
{
	if (q->slot >= KEEPER_SLOTS)
		return -EINVAL;
	switch (q->verb) {
	case KEEPER_PUT:
		return put(k, line, q);
	case KEEPER_PUT_ZEROS:
		return is_sound(q, ZEROS_MAX) ? pager_put(k->pager, q->vpid, q->addr, q->pages, NULL)
					      : -EINVAL;
	case KEEPER_FORGET:
		return is_sound(q, ZEROS_MAX) ? pager_forget(k->pager, q->vpid, q->addr, q->pages)
					      : -EINVAL;
	case KEEPER_MARK:
		reply->vpid = q->vpid;
		return 0;
	}
	return line == KEEPER_CONTROL ? control(k, q, fd, reply) : -EINVAL;
}

/* --- workers come and go --------------------------------------------------------------------- */

static void unwatch(struct keeper_process *k, size_t line)
{
	server_watch(k->server, line, &(struct server_watch){.fd = -1});
	fd_close(&k->link.lines[line][1]);
}

/* A worker that died at the gate leaves a container that may be about to be killed, and was never seen to
 * run: what becomes of it is looked at later. */
static bool is_unclear(const struct keeper_process *k)
{
	return k->owned && !k->ran && k->ticks < TICKS_TO_DIE;
}

static bool needs_worker(const struct keeper_process *k)
{
	return k->owned && (!k->done || is_unclear(k));
}

static void worker_gone(struct keeper_process *k)
{
	for (size_t i = 0; i < KEEPER_LINES; i++)
		unwatch(k, i);
	k->has_worker = false;
	k->ticks = 0;
	keeper_link_done(&k->link);
	ranges_done(&k->expected);
	if (!needs_worker(k))
		server_stop(k->server);
	else if (k->config.alone)
		k->config.alone(k->config.ctx);
}

/* One request; true when it was soon done. A line that ends or is misused is closed; with the control line
 * goes the worker. */
static bool take_request(struct keeper_process *k, size_t line)
{
	struct keeper_reply reply = {0};
	struct keeper_request q;
	_cleanup_close_ int fd = -1;
	size_t n = 1;
	ssize_t got = fd_recv(k->link.lines[line][1], &q, sizeof(q), &fd, &n);

	if (got == sizeof(q)) {
		reply.result = request(k, line, &q, &fd, &reply);
		if (reply.result == -ENOSPC)
			reply.stats = pager_stats(k->pager);
		got = send(k->link.lines[line][1], &reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		got = -1;
	}
	if (got < 0 && line == KEEPER_CONTROL)
		worker_gone(k);
	else if (got < 0)
		unwatch(k, line);
	return got >= 0 && q.pages <= FEW_PAGES;
}

static bool has_request(const struct keeper_process *k, size_t line)
{
	struct pollfd p = {.fd = k->link.lines[line][1], .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* What was written here and there comes page by page: some at a time, or looking at everything else between
 * any two takes longer than they. */
static int on_line(void *ctx, struct err *e)
{
	struct line *l = ctx;
	unsigned n = 0;

	(void)e;
	while (take_request(l->k, l->index) && ++n < FEW_REQUESTS && has_request(l->k, l->index))
		;
	return 0;
}

static void take_worker(struct keeper_process *k)
{
	k->has_worker = true;
	for (size_t i = 0; i < KEEPER_LINES; i++) {
		k->lines[i] = (struct line){.k = k, .index = i};
		server_watch(k->server, i, &(struct server_watch){.fd = k->link.lines[i][1],
			.in_turn = i >= KEEPER_BULK, .ready = on_line, .ctx = &k->lines[i]});
	}
	tell(k, KEEPER_IS_UP, (uint32_t)getpid(), "");
	if (k->done)
		tell(k, KEEPER_IS_DONE, 0, "");
}

/* Closes all descriptors but standard error and one side of the link. */
static void close_others(const struct keeper_link *l, int side)
{
	int keep[2 * KEEPER_LINES + 3] = {STDERR_FILENO, l->events[side], l->wishes[side]};
	size_t n = 3;

	for (size_t i = 0; i < KEEPER_LINES; i++) {
		keep[n++] = l->lines[i][side];
		if (side == 0)
			keep[n++] = l->rooms[i];
	}
	fd_close_others(STDERR_FILENO + 1, keep, n);
}

static void write_oom_adj(const char *text)
{
	int fd = open(OOM_ADJ, O_WRONLY | O_CLOEXEC);

	/* Not allowed to (CAP_SYS_RESOURCE) is no reason to fail. */
	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
	fd_close(&fd);
}

/* The descriptors of the container must be the keeper's alone: it closes those that need it no more. */
__attribute__((noreturn)) static void become_worker(struct keeper_process *k, struct keeper_link *l)
{
	struct keeper *joined;
	struct err e = ERR_INIT;

	close_others(l, 0);
	for (size_t i = 0; i < KEEPER_LINES; i++)
		l->lines[i][1] = -1;
	l->events[1] = l->wishes[1] = -1;
	if (k->oom_adj)
		write_oom_adj(k->oom_adj);
	prctl(PR_SET_NAME, "godwit");
	sigprocmask(SIG_SETMASK, &k->signals, NULL);
	if (keeper_join(l, &joined, &e) < 0)
		_exit(1);
	_exit(k->config.replace(k->config.ctx, joined));
}

static void start_worker(struct keeper_process *k)
{
	pid_t pid;

	if (keeper_link_open(&k->link) < 0)
		return;
	pid = fork();
	if (pid == 0)
		become_worker(k, &k->link);
	keeper_link_close(&k->link, 0);
	if (pid < 0) {
		keeper_link_done(&k->link);
		return;
	}
	k->worker = pid;
	take_worker(k);
}

static void reap(struct keeper_process *k)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		if (pid == k->anchor.pid)
			anchor_cast(&k->anchor);
		else if (pid == k->worker)
			k->worker = 0;
}

/* --- what the server says -------------------------------------------------------------------- */

static void on_done(void *ctx)
{
	struct keeper_process *k = ctx;

	k->done = true;
	tell(k, KEEPER_IS_DONE, 0, "");
	if (!k->has_worker && !is_unclear(k))
		server_stop(k->server);
}

static int on_failed(void *ctx, const struct err *e)
{
	struct keeper_process *k = ctx;

	tell(k, KEEPER_HAS_FAILED, (uint32_t)e->code, e->text);
	if (!k->owned)
		return -e->code;
	if (k->config.complain)
		k->config.complain(k->config.ctx, e);
	return 0;
}

static int on_tick(void *ctx, struct err *e)
{
	struct keeper_process *k = ctx;

	(void)e;
	reap(k);
	if (k->owned)
		pager_drop_ended(k->pager);
	if (k->has_worker)
		return 0;
	k->ticks++;
	if (is_unclear(k))
		return 0;
	if (k->owned && k->done)
		server_stop(k->server);
	else if (needs_worker(k) && !pager_done(k->pager) && k->worker == 0 && k->config.replace)
		start_worker(k);
	return 0;
}

/* --- the process ----------------------------------------------------------------------------- */

static int set_up(struct keeper_process *k, struct err *e)
{
	struct server_config c = {
		.ask = ask, .done = on_done, .tick = on_tick, .failed = on_failed, .ctx = k};
	int r = pager_new(k->config.max_bytes, &k->pager, e);

	c.pager = k->pager;
	if (r == 0)
		r = server_new(&c, &k->server, e);
	if (r == 0)
		r = anchor_start(&k->anchor, &k->config, e);
	return r;
}

/* Nothing that is meant for a terminal's or a service's whole group reaches it. */
static void stand_apart(struct keeper_process *k)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t all;

	setsid();
	prctl(PR_SET_NAME, "godwit-keeper");
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &k->signals);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close_others(&k->link, 1);
	if (file_read(OOM_ADJ, 64, &k->oom_adj, NULL) == 0)
		write_oom_adj("-1000");
}

void keeper_main(const struct keeper_config *c, struct keeper_link *l)
{
	struct keeper_process k = {.config = *c, .link = *l, .has_worker = true};
	struct err e = ERR_INIT;
	int r;

	stand_apart(&k);
	r = set_up(&k, &e);
	if (r == 0) {
		thread_priority_begin(&k.priority);
		take_worker(&k);
		r = server_run(k.server, &e);
	}
	if (r < 0)
		tell(&k, KEEPER_HAS_FAILED, (uint32_t)-r, e.text);
	server_free(k.server);
	pager_free(k.pager);
	if (k.owned && c->over)
		c->over(c->ctx, k.ran);
	if (!k.owned && c->never)
		c->never(c->ctx);
	_exit(r < 0);
}
