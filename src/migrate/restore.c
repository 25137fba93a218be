/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/restore.h"

#include "base/clock.h"
#include "base/fd.h"
#include "criu/images.h"
#include "criu/workplace.h"
#include "oci/runc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RESTORE_MS 600000 /* images of tmpfs and shared memory are read meanwhile */
#define RUN_MS 30000	  /* from the gate's opening on */
#define LEAVE_MS 30000	  /* CRIU to take a no, kill what it restored and end */
#define TASK_MS 5000	  /* CRIU to finish what it has begun to write */
#define OPTIONS "verbosity=1\naction-script " WORKPLACE_DIR "/hook\n"

int restore_prepare(struct restore *r, struct pager *pager, const char *annotation, struct err *e)
{
	int ret = hooks_open(&r->hooks, WORKPLACE_DIR, e);

	r->pager = pager;
	if (ret == 0 && pager)
		ret = lazy_socket_open(&r->lazy, WORKPLACE_CRIU, e);
	return ret < 0 ? ret : workplace_criu_options(annotation, OPTIONS, e);
}

static int restore_failed(struct restore *r, struct err *e)
{
	char why[512], said[256] = "";
	ssize_t n;

	criu_log_tail(WORKPLACE_CRIU "/restore.log", why, sizeof(why));
	n = why[0] ? 0 : read(r->runc.output, said, sizeof(said) - 1);
	if (n > 0)
		said[n] = '\0';
	return err_set(e, ERR_LOCAL, EIO, "CRIU could not restore the container: %s",
		why[0] ? why : said);
}

static int runc_ended(void *ctx, struct err *e)
{
	struct restore *r = ctx;

	child_wait(&r->runc, deadline_in_ms(LEAVE_MS));
	return restore_failed(r, e);
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
	return ret == 0 ? 0 : pager_add_view(r->pager, task.vpid, task.uffd, e);
}

/* The processes whose memory was handed over when CRIU called. */
static int take_all_tasks(struct restore *r, struct err *e)
{
	int ret = 0;

	while (ret == 0 && r->pager && fd_wait(lazy_socket_fd(&r->lazy), POLLIN, 0) == 0)
		ret = on_lazy(r, e);
	return ret < 0 ? ret : 0;
}

/* Takes CRIU's calls, answering yes, until @action, which is left unanswered. */
static int wait_hook(struct restore *r, const char *action, uint64_t deadline, struct hook_call *ret,
	struct err *e)
{
	for (;;) {
		int n = waiter_wait(r->waiter, hooks_fd(&r->hooks), deadline, e);

		if (n == 0)
			n = hooks_next(&r->hooks, ret, deadline, e);
		if (n == -ETIMEDOUT && !err_is_set(e))
			return err_set(e, ERR_LOCAL, ETIMEDOUT, "CRIU did not reach %s in time",
				action);
		if (n < 0 || strcmp(ret->action, action) == 0)
			return n;
		hook_answer(ret, true);
	}
}

static void watch(struct restore *r, struct waiter *w)
{
	r->waiter = w;
	waiter_add(w, r->runc.pidfd, runc_ended, r);
	if (r->pager)
		waiter_add(w, lazy_socket_fd(&r->lazy), on_lazy, r);
}

static void unwatch(struct restore *r)
{
	waiter_remove(r->waiter, r->runc.pidfd);
	if (r->pager)
		waiter_remove(r->waiter, lazy_socket_fd(&r->lazy));
	r->waiter = NULL;
}

int restore_to_gate(struct restore *r, const char *id, const char *bundle, const char *images,
	bool file_locks, struct waiter *w, struct err *e)
{
	struct runc_restore o = {
		.id = id,
		.bundle = bundle,
		.images = images,
		.work = WORKPLACE_CRIU,
		.lazy = r->pager != NULL,
		.file_locks = file_locks,
	};
	int ret;

	snprintf(r->id, sizeof(r->id), "%s", id);
	r->begun = true;
	r->started = clock_now();
	ret = runc_restore_start(&o, &r->runc, e);
	if (ret < 0)
		return ret;
	watch(r, w);
	ret = wait_hook(r, "post-restore", deadline_in_ms(RESTORE_MS), &r->gate, e);
	if (ret == 0)
		ret = take_all_tasks(r, e);
	unwatch(r);
	r->gate_at = clock_now();
	return ret;
}

int restore_open_gate(struct restore *r, struct waiter *w, struct err *e)
{
	struct hook_call call;
	int ret;

	hook_answer(&r->gate, true);
	watch(r, w);
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
	return child_exit_code(&r->runc) == 0 ? 0 : restore_failed(r, e);
}

void restore_revoke(struct restore *r)
{
	uint64_t deadline = deadline_in_ms(LEAVE_MS);
	struct pollfd p[2] = {
		{.fd = hooks_fd(&r->hooks), .events = POLLIN},
		{.fd = r->runc.pidfd, .events = POLLIN},
	};

	if (!r->begun)
		return;
	hook_answer(&r->gate, false);
	while (r->runc.pid > 0 && !r->runc.reaped) {
		struct hook_call call;

		if (poll(p, 2, deadline_poll_ms(deadline)) == 0)
			child_kill(&r->runc, SIGKILL);
		if (p[0].revents && hooks_next(&r->hooks, &call, deadline, NULL) == 0)
			hook_answer(&call, false);
		if (p[1].revents || deadline_passed(deadline))
			child_wait(&r->runc, deadline_in_ms(LEAVE_MS));
	}
	runc_delete(r->id, NULL);
	r->begun = false;
}

void restore_done(struct restore *r)
{
	hook_answer(&r->gate, false);
	child_done(&r->runc);
	lazy_socket_done(&r->lazy);
	hooks_done(&r->hooks);
}
