/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
#include "criu/tmpfs.h"
#include "criu/workplace.h"
#include "kernel/status.h"
#include "kernel/vfork.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 30000	 /* runc and CRIU up to pre-dump */
#define FREEZE_MS 10000	 /* a process in an uninterruptible sleep is not frozen before it ends */
#define PATIENCE_MS 2000 /* for those in vfork to have called exec, for tracers to leave, and what they leave to stop */
#define THAWED_NAP_MS 1
#define DUMP_MS 600000	 /* all of tmpfs and shared memory is written meanwhile */
#define LEAVE_MS 30000	 /* CRIU to take a no and end */
/* Packets are held by godwit, so CRIU's own lock has nothing to do and leaves nothing behind. Of a
 * connection that no accept() has taken yet CRIU can't carry what it is. Of cgroups it looks at those alone in which
 * runc puts a container (version 2): for each hierarchy of version 1 that the kernel has it would mount one. */
#define OPTIONS                                                                                    \
	"verbosity=1\naddress 127.0.0.1\nnetwork-lock skip\nskip-in-flight\n"                     \
	"cgroup-yard " WORKPLACE_CGROUPS "\ncgroup-dump-controller \"\"\n"                           \
	"action-script " WORKPLACE_DIR "/hook\n"

int dump_prepare(struct dump *d, const struct container *c, const char *annotation, struct err *e)
{
	int r = workplace_new_proc(e);

	d->container = c;
	if (r == 0)
		r = cgroup_bind(WORKPLACE_UNIFIED, e);
	if (r == 0)
		r = hooks_open(&d->hooks, WORKPLACE_DIR, e);
	return r < 0 ? r : workplace_criu_options(annotation, OPTIONS, e);
}

/* A port that is free now. Nobody ever connects to it: CRIU fails before it accepts. */
static int free_port(uint16_t *ret)
{
	_cleanup_close_ int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	if (s < 0 || bind(s, (struct sockaddr *)&at, sizeof(at)) < 0 ||
		getsockname(s, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	*ret = ntohs(at.sin_port);
	return 0;
}

static int runc_ended(void *ctx, struct err *e)
{
	struct dump *d = ctx;

	child_wait(&d->runc, deadline_in_ms(LEAVE_MS));
	return workplace_criu_failed("dump", &d->runc, e);
}

/* Until CRIU calls with @action. */
static int wait_hook(struct dump *d, const char *action, uint64_t deadline, struct waiter *w,
	struct hook_call *ret, struct err *e)
{
	int r = waiter_add(w, d->runc.pidfd, runc_ended, d);

	do {
		if (r == 0)
			r = waiter_wait(w, hooks_fd(&d->hooks), deadline, e);
		if (r == 0)
			r = hooks_next(&d->hooks, ret, deadline, e);
	} while (r == 0 && tmpfs_take(ret));
	waiter_remove(w, d->runc.pidfd);
	if (r == -ETIMEDOUT && !err_is_set(e))
		return err_set(e, ERR_LOCAL, ETIMEDOUT, "CRIU did not reach %s in time", action);
	if (r < 0 || strcmp(ret->action, action) == 0)
		return r;
	hook_answer(ret, false);
	return err_set(e, ERR_LOCAL, EPROTO, "CRIU reached %s before %s", ret->action, action);
}

int dump_start(struct dump *d, const struct dump_options *o, struct waiter *w, struct err *e)
{
	struct runc_checkpoint c = {
		.id = d->container->id,
		.images = o->images,
		.work = WORKPLACE_CRIU,
		.lazy = o->lazy,
		.file_locks = o->file_locks,
		.tcp_established = o->tcp_established,
		.leave_running = o->leave_running,
		.programs = WORKPLACE_PROGRAMS,
		.preload = WORKPLACE_PRELOAD,
	};
	int r = o->lazy ? free_port(&c.lazy_port) : 0;

	d->o = o;
	if (r < 0)
		return err_sys(e, -r, "port for CRIU");
	r = runc_checkpoint_start(&c, &d->runc, e);
	return r < 0 ? r : wait_hook(d, "pre-dump", deadline_in_ms(START_MS), w, &d->held, e);
}

/* A parent in vfork(2) can't be traced, and what is traced can't be by CRIU, which calls it a zombie
 * and keeps the container frozen for ten seconds before it gives up. Our own attaching may be the
 * tracer: it ends when it is let run. Of a stopped process that has just been let go of, and is on its way to its stop,
 * CRIU takes that stop for the one that it asked for, and lets the process run. */
static bool is_in_the_way(pid_t pid)
{
	return vfork_borrows(pid) || process_tracer(pid) != 0 || process_runs(pid);
}

static int refuse(pid_t pid, struct err *e)
{
	pid_t tracer = process_tracer(pid);

	if (tracer != 0) {
		err_set(e, ERR_REFUSED, EBUSY,
			"process %d is traced by %d, so CRIU can not dump it", pid, tracer);
		return err_remedy(e, "end the debugger or strace, or try again");
	}
	if (!vfork_borrows(pid)) {
		err_set(e, ERR_REFUSED, EBUSY, "process %d gets no processor on which to come to a stop", pid);
		return err_remedy(e, "try again when the host is less busy");
	}
	err_set(e, ERR_REFUSED, EBUSY,
		"process %d shares its parent's memory (vfork), which CRIU can not dump", pid);
	return err_remedy(e, "try again when it has called exec or has ended");
}

int dump_freeze(struct dump *d, struct err *e)
{
	const char *cgroup = d->container->cgroup;
	struct timespec nap = {.tv_nsec = THAWED_NAP_MS * (long)NSEC_PER_MSEC};
	uint64_t deadline = deadline_in_ms(FREEZE_MS), patience = deadline_in_ms(PATIENCE_MS);
	pid_t obstacle = 0;
	int r;

	if (cgroup_is_frozen(cgroup))
		return cgroup_refuse_frozen(cgroup, e);
	do {
		if (obstacle > 0) {
			cgroup_thaw(cgroup);
			nanosleep(&nap, NULL);
		}
		d->freeze_start = clock_now();
		d->frozen = true;
		r = cgroup_freeze(cgroup, deadline);
		d->frozen_at = clock_now();
		if (r < 0)
			return err_sys(e, -r, "freezing %s", cgroup);
		obstacle = cgroup_find(cgroup, is_in_the_way);
	} while (obstacle > 0 && !deadline_passed(patience));
	return obstacle == 0 ? 0 : refuse(obstacle, e);
}

void dump_begin(struct dump *d)
{
	session_come_first(d->runc.pid);
	hook_answer(&d->held, true);
}

/* Nobody holds it by ptrace(2), and it has not ended. */
static bool is_loose(pid_t pid)
{
	return process_tracer(pid) == 0 && process_started(pid) != 0;
}

/* CRIU has thawed what it held by ptrace(2), to work in it, and that hold ends when CRIU is killed. If it
 * has been already, they have run since. */
static int keep_frozen(struct dump *d, struct err *e)
{
	const char *cgroup = d->container->cgroup;
	int r = cgroup_freeze(cgroup, deadline_in_ms(FREEZE_MS));

	if (r < 0)
		return err_sys(e, -r, "freezing %s", cgroup);
	return cgroup_find(cgroup, is_loose) == 0 ? 0 :
		err_set(e, ERR_LOCAL, EIO, "CRIU was killed when its images were complete");
}

int dump_complete(struct dump *d, struct waiter *w, struct err *e)
{
	int r = wait_hook(d, "post-dump", deadline_in_ms(DUMP_MS), w, &d->held, e);

	if (r == 0)
		r = keep_frozen(d, e);
	d->dumped_at = clock_now();
	return r;
}

int dump_still_held(struct dump *d, struct err *e)
{
	return fd_wait(d->runc.pidfd, POLLIN, 0) == -ETIMEDOUT ? 0 : runc_ended(d, e);
}

/* Answers the step under way, says no to all that follow and waits for runc's end. */
static void let_criu_leave(struct dump *d, bool answer)
{
	uint64_t deadline = deadline_in_ms(LEAVE_MS);
	struct pollfd p[2] = {
		{.fd = hooks_fd(&d->hooks), .events = POLLIN},
		{.fd = d->runc.pidfd, .events = POLLIN},
	};

	hook_answer(&d->held, answer);
	while (d->runc.pid > 0 && !d->runc.reaped) {
		struct hook_call call;

		if (poll(p, 2, deadline_poll_ms(deadline)) == 0)
			child_kill(&d->runc, SIGKILL);
		if (p[0].revents && hooks_next(&d->hooks, &call, deadline, NULL) == 0)
			hook_answer(&call, false);
		if (p[1].revents || deadline_passed(deadline))
			child_wait(&d->runc, deadline_in_ms(LEAVE_MS));
	}
}

int dump_finish(struct dump *d, struct err *e)
{
	int r;

	let_criu_leave(d, true);
	if (!d->o->lazy && child_exit_code(&d->runc) != 0)
		return workplace_criu_failed("dump", &d->runc, e);
	if (d->o->leave_running) {
		dump_revoke(d);
		return 0;
	}
	r = cgroup_kill(d->container->cgroup, deadline_in_ms(LEAVE_MS));
	if (r < 0)
		return err_sys(e, -r, "ending the container's processes");
	d->frozen = false;
	return runc_delete(d->container->id, e);
}

/* A runc that was killed has left a CRIU behind, which freezes the container when it leaves, as it had found
 * it. It is told no at its next step. */
static void outlast_criu(struct dump *d)
{
	hooks_done(&d->hooks);
	cgroup_thaw_for_good(d->container->cgroup, deadline_in_ms(LEAVE_MS));
}

void dump_revoke(struct dump *d)
{
	let_criu_leave(d, false);
	if (d->frozen && d->runc.reaped && WIFSIGNALED(d->runc.status))
		outlast_criu(d);
	else if (d->frozen)
		cgroup_thaw(d->container->cgroup);
	if (d->runc.pid > 0)
		runc_forget_checkpoint(d->container->id);
	d->frozen = false;
}

void dump_done(struct dump *d)
{
	hook_answer(&d->held, false);
	child_done(&d->runc);
	hooks_done(&d->hooks);
}
