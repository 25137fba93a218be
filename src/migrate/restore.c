/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/restore.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/thread.h"
#include "criu/tmpfs.h"
#include "criu/workplace.h"
#include "kernel/status.h"
#include "migrate/images.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_MS 30000	  /* runc and CRIU up to the first image */
#define RESTORE_MS 600000 /* images of tmpfs and shared memory are read meanwhile */
#define LOOK_MS 5000
#define STILL_MS 60000	  /* more than a disk or a file server lets anyone wait */
#define RUN_MS 30000	  /* from the gate's opening on */
#define LEAVE_MS 10000	  /* CRIU to take a no, kill what it restored and end */
#define HURRY_MS 500	  /* the same when it does not wait for us */
#define TASK_MS 5000	  /* CRIU to finish what it has begun to write */
#define OPTIONS                                                                                    \
	"verbosity=1\nnetwork-lock skip\ncgroup-yard " WORKPLACE_CGROUPS "\n"                            \
	"action-script " WORKPLACE_DIR "/hook\n"

int restore_prepare(struct restore *r, struct keeper *keeper, const char *annotation, struct err *e)
{
	int ret = hooks_open(&r->hooks, WORKPLACE_DIR, e);

	r->keeper = keeper;
	if (ret == 0)
		ret = cgroup_bind(WORKPLACE_UNIFIED, e);
	if (ret == 0)
		ret = child_adopt_orphans();
	if (ret == 0 && keeper)
		ret = lazy_socket_open(&r->lazy, WORKPLACE_CRIU, e);
	return ret < 0 ? ret : workplace_criu_options(annotation, OPTIONS, e);
}

static int runc_ended(void *ctx, struct err *e)
{
	struct restore *r = ctx;

	child_wait(&r->runc, deadline_in_ms(LEAVE_MS));
	return workplace_criu_failed("restore", &r->runc, e);
}

/* CRIU connects, hands over the memory of each process, and closes. */
static int on_lazy(void *ctx, struct err *e)
{
	struct restore *r = ctx;
	struct lazy_task task;
	int before = lazy_socket_fd(&r->lazy);
	int ret = lazy_socket_next(&r->lazy, &task, deadline_in_ms(TASK_MS), e);

	if (ret < 0)
		return ret;
	if (lazy_socket_fd(&r->lazy) != before) {
		waiter_remove(r->waiter, before);
		return waiter_add(r->waiter, lazy_socket_fd(&r->lazy), on_lazy, r);
	}
	if (ret == 1 && task.vpid == 0)
		return 1;
	return ret == 0 ? 0 : keeper_add_view(r->keeper, task.vpid, task.uffd, e);
}

/* The processes whose memory was handed over when CRIU called. */
static int take_all_tasks(struct restore *r, struct err *e)
{
	int ret = 0;

	while (ret == 0 && r->keeper && fd_wait(lazy_socket_fd(&r->lazy), POLLIN, 0) == 0)
		ret = on_lazy(r, e);
	return ret < 0 ? ret : 0;
}

static void add_work(void *ctx, pid_t child)
{
	uint64_t *ret = ctx;

	*ret += process_ran(child);
	process_children(child, add_work, ret);
}

/* Changes as long as CRIU and what it restores do anything, or memory or a tmpfs comes that they may wait for. */
static uint64_t work_done(const struct restore *r)
{
	struct pager_stats s = {0};
	uint64_t ret = 0;

	process_children(r->runc.pid, add_work, &ret);
	/* CRIU has run; this kernel doesn't count. */
	if (ret == 0)
		return clock_now();
	if (r->keeper)
		keeper_stats(r->keeper, &s);
	return ret + s.arrived + tmpfs_unpacked();
}

struct pulse {
	uint64_t work, at;
};

static bool stands_still(const struct restore *r, struct pulse *p)
{
	uint64_t work = work_done(r), now = clock_now();

	if (work != p->work || p->at == 0)
		*p = (struct pulse){work, now};
	return now - p->at > STILL_MS * NSEC_PER_MSEC;
}

/* 0, or -ETIMEDOUT without @e: the deadline has passed, or nothing has happened for long. */
static int wait_call(struct restore *r, struct pulse *p, uint64_t deadline, struct err *e)
{
	int n;

	do {
		uint64_t look = deadline_in_ms(LOOK_MS);

		n = waiter_wait(r->waiter, hooks_fd(&r->hooks), look < deadline ? look : deadline, e);
	} while (n == -ETIMEDOUT && !err_is_set(e) && !deadline_passed(deadline) && !stands_still(r, p));
	return n;
}

/* Takes CRIU's calls, answering yes, until @action, which is left unanswered. */
static int wait_hook(struct restore *r, const char *action, uint64_t deadline, struct hook_call *ret,
	struct err *e)
{
	struct pulse p = {0};

	for (;;) {
		int n = wait_call(r, &p, deadline, e);

		if (n == 0)
			n = hooks_next(&r->hooks, ret, deadline, e);
		if (n == -ETIMEDOUT && !err_is_set(e))
			return err_set(e, ERR_LOCAL, ETIMEDOUT, "CRIU did not reach %s%s", action,
				deadline_passed(deadline) ? " in time" : ", and stands still");
		if (n < 0 || strcmp(ret->action, action) == 0)
			return n;
		if (!tmpfs_take(ret))
			hook_answer(ret, true);
	}
}

static int watch(struct restore *r, struct waiter *w, struct err *e)
{
	int n;

	r->waiter = w;
	n = waiter_add(w, r->runc.pidfd, runc_ended, r);
	if (n == 0 && r->keeper)
		n = waiter_add(w, lazy_socket_fd(&r->lazy), on_lazy, r);
	return n < 0 ? err_sys(e, -n, "watching runc") : 0;
}

static void unwatch(struct restore *r)
{
	waiter_remove(r->waiter, r->runc.pidfd);
	if (r->keeper)
		waiter_remove(r->waiter, lazy_socket_fd(&r->lazy));
	r->waiter = NULL;
}

/* CRIU has opened the pipe: it waits there. */
static int wait_reader(struct restore *r, int watch_fd, struct err *e)
{
	struct inotify_event event;
	int n = waiter_wait(r->waiter, watch_fd, deadline_in_ms(START_MS), e);

	if (n == -ETIMEDOUT && !err_is_set(e))
		return err_set(e, ERR_LOCAL, ETIMEDOUT, "CRIU did not start in time");
	if (n == 0 && read(watch_fd, &event, sizeof(event)) < 0)
		return err_sys(e, errno, "watching %s", IMAGE_INVENTORY);
	return n;
}

/* The pipe is opened for both directions here, so that neither end ever waits to open it. CRIU opens this very
 * descriptor: if we are killed before, there is none, where it would wait for ever at the pipe's own name. */
static int make_inventory_pipe(struct restore *r, const char *images, int *ret_watch, struct err *e)
{
	char path[512], pipe[sizeof(path) + 8], self[64];

	snprintf(path, sizeof(path), "%s/%s", images, IMAGE_INVENTORY);
	snprintf(pipe, sizeof(pipe), "%s.pipe", path);
	if (mkfifo(pipe, 0600) < 0)
		return err_sys(e, errno, "pipe %s", pipe);
	r->inventory = open(pipe, O_RDWR | O_CLOEXEC);
	if (r->inventory < 0)
		return err_sys(e, errno, "pipe %s", pipe);
	snprintf(self, sizeof(self), "/proc/%d/fd/%d", getpid(), r->inventory);
	if (symlink(self, path) < 0)
		return err_sys(e, errno, "making %s", path);
	*ret_watch = inotify_init1(IN_CLOEXEC);
	if (*ret_watch < 0 || inotify_add_watch(*ret_watch, pipe, IN_OPEN) < 0)
		return err_sys(e, errno, "watching %s", pipe);
	return 0;
}

static int write_descriptors(const char *images, const struct msg_bytes *descriptors, struct err *e)
{
	char path[512];
	int ret;

	snprintf(path, sizeof(path), "%s/%s", images, IMAGE_DESCRIPTORS);
	ret = file_write_atomic(path, descriptors->p, descriptors->len, 0600);
	return ret < 0 ? err_sys(e, -ret, "writing %s", path) : 0;
}

int restore_claim(struct restore *r, const char *id, struct err *e)
{
	return runc_claim(id, &r->claim, e);
}

/* From then on nobody else gets the name. */
static int wait_name(struct restore *r, int made, struct err *e)
{
	uint64_t deadline = deadline_in_ms(START_MS);
	char events[1024];
	int n = 0;

	while (n == 0 && !runc_exists(r->id)) {
		n = waiter_wait(r->waiter, made, deadline, e);
		while (read(made, events, sizeof(events)) > 0)
			;
	}
	fd_close(&r->claim);
	return n == -ETIMEDOUT && !err_is_set(e)
		? err_set(e, ERR_LOCAL, ETIMEDOUT, "runc did not begin in time") : n;
}

/* Up to where runc has the name and, with images to come, CRIU waits for the first one: @opened. */
static int follow_start(struct restore *r, int made, int opened, struct waiter *w, struct err *e)
{
	int ret = watch(r, w, e);

	if (ret == 0)
		ret = wait_name(r, made, e);
	if (ret == 0 && opened >= 0)
		ret = wait_reader(r, opened, e);
	unwatch(r);
	return ret;
}

int restore_start(struct restore *r, const struct runc_restore *o, const struct msg_bytes *descriptors,
	struct waiter *w, struct err *e)
{
	_cleanup_close_ int opened = -1, made = runc_watch();
	int ret = made < 0 ? err_sys(e, -made, "watching runc's directory") : 0;

	snprintf(r->id, sizeof(r->id), "%s", o->id);
	if (ret == 0 && descriptors)
		ret = write_descriptors(o->images, descriptors, e);
	if (ret == 0 && descriptors)
		ret = make_inventory_pipe(r, o->images, &opened, e);
	if (ret < 0)
		return ret;
	r->begun = true;
	ret = runc_restore_start(o, &r->runc, e);
	return ret < 0 ? ret : follow_start(r, made, opened, w, e);
}

int restore_feed(struct restore *r, const struct buf *inventory, struct err *e)
{
	int ret;

	session_come_first(r->runc.pid);
	ret = fd_write_all(r->inventory, inventory->data, inventory->len, deadline_in_ms(START_MS));

	fd_close(&r->inventory);
	return ret < 0 ? err_sys(e, -ret, "passing %s to CRIU", IMAGE_INVENTORY) : 0;
}

int restore_to_gate(struct restore *r, struct waiter *w, struct err *e)
{
	int ret;

	r->started = clock_now();
	ret = watch(r, w, e);
	if (ret == 0)
		ret = wait_hook(r, "post-restore", deadline_in_ms(RESTORE_MS), &r->gate, e);
	if (ret == 0)
		ret = take_all_tasks(r, e);
	unwatch(r);
	r->gate_at = clock_now();
	return ret;
}

/* CRIU has runc's child for each container that it makes (rst-sibling), beside itself. */
static void take_cgroup(void *ctx, pid_t child)
{
	char own[PATH_MAX], cgroup[PATH_MAX], *ret = ctx;

	if (cgroup_own(own, sizeof(own)) == 0 && cgroup_of(child, cgroup, sizeof(cgroup)) == 0 &&
		strcmp(own, cgroup) != 0)
		snprintf(ret, PATH_MAX, "%s", cgroup);
}

int restore_processes(const struct restore *r, pid_t **ret, size_t *ret_n)
{
	char cgroup[PATH_MAX] = "";
	int n = process_children(r->runc.pid, take_cgroup, cgroup);

	if (n < 0 || !cgroup[0])
		return n < 0 ? n : -ESRCH;
	return cgroup_processes(cgroup, ret, ret_n);
}

int restore_open_gate(struct restore *r, struct waiter *w, struct err *e)
{
	struct hook_call call;
	int ret;

	r->opened = true;
	hook_answer(&r->gate, true);
	ret = watch(r, w, e);
	if (ret == 0)
		ret = wait_hook(r, "post-resume", deadline_in_ms(RUN_MS), &call, e);
	unwatch(r);
	r->running_at = clock_now();
	if (ret == 0)
		hook_answer(&call, true);
	return ret;
}

int restore_finish(struct restore *r, struct waiter *w, struct err *e)
{
	int ret = waiter_wait(w, r->runc.pidfd, deadline_in_ms(RUN_MS), e);

	if (ret == -ETIMEDOUT && !err_is_set(e))
		return err_set(e, ERR_LOCAL, ETIMEDOUT, "runc restore did not end");
	if (ret == 0)
		ret = child_wait(&r->runc, deadline_in_ms(LEAVE_MS));
	if (ret < 0)
		return ret;
	return child_exit_code(&r->runc) == 0 ? 0 : workplace_criu_failed("restore", &r->runc, e);
}

/* Where CRIU waits for us, at its first image or at its gate, it gives up, kills what it has restored
 * and tells runc, which cleans up. Elsewhere it may wait for pages that will not come. */
static void let_criu_clean_up(struct restore *r)
{
	bool waits = r->inventory >= 0 || r->gate.fd >= 0;
	uint64_t deadline = deadline_in_ms(waits ? LEAVE_MS : HURRY_MS);
	struct pollfd p[2] = {
		{.fd = hooks_fd(&r->hooks), .events = POLLIN},
		{.fd = r->runc.pidfd, .events = POLLIN},
	};

	fd_close(&r->inventory);
	hook_answer(&r->gate, false);
	while (!p[1].revents && poll(p, 2, deadline_poll_ms(deadline)) > 0) {
		struct hook_call call;

		if (p[0].revents && hooks_next(&r->hooks, &call, deadline, NULL) == 0)
			hook_answer(&call, false);
	}
}

void restore_revoke(struct restore *r)
{
	if (!r->begun)
		return;
	let_criu_clean_up(r);
	child_done(&r->runc);
	child_kill_descendants(deadline_in_ms(LEAVE_MS));
	/* Before the gate's opening nothing of ours can be: by hand somebody was first. */
	if (r->opened || !runc_is_started(r->id))
		runc_delete(r->id, NULL);
	r->begun = false;
}

void restore_done(struct restore *r)
{
	hook_answer(&r->gate, false);
	fd_close(&r->inventory);
	fd_close(&r->claim);
	child_done(&r->runc);
	lazy_socket_done(&r->lazy);
	hooks_done(&r->hooks);
}
