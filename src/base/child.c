/* SPDX-License-Identifier: Apache-2.0 */
#include "base/child.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_KEPT_FD 3
#define KEPT_FDS_MAX 16
#define CHILDREN_MAX_BYTES (1u << 20)
#define FORKED_MAX 32

/* Those of child_fork(); 0: none. */
static pid_t forked[FORKED_MAX];

/* As it was before child_raise_files(). */
static struct rlimit files;
static bool files_raised;

void child_raise_files(void)
{
	if (files_raised || getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files_raised = setrlimit(RLIMIT_NOFILE, &(struct rlimit){files.rlim_max, files.rlim_max}) == 0;
}

/* Moves the kept descriptors to 3, 4, …; first out of the way of each other, then into place. */
static int place_fds(const struct child_opts *o)
{
	int high[KEPT_FDS_MAX];

	if (o->n_keep_fds > KEPT_FDS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < o->n_keep_fds; i++) {
		high[i] = fcntl(o->keep_fds[i], F_DUPFD, FIRST_KEPT_FD + KEPT_FDS_MAX);
		if (high[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < o->n_keep_fds; i++)
		if (dup2(high[i], FIRST_KEPT_FD + (int)i) < 0)
			return -errno;
	return 0;
}

static int set_up_stdio(int out)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, 0) < 0)
		return -errno;
	if (out < 0)
		out = null;
	if (dup2(out, 1) < 0 || dup2(out, 2) < 0)
		return -errno;
	return 0;
}

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((noreturn)) static void become(const struct child_opts *o, int out, int report, pid_t parent)
{
	int r;

	reset_signals();
	/* A group's SIGINT from the terminal is for the one who waits for us. */
	if (!o->on_terminal)
		setsid();
	if (!o->survive_parent) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(127);
	}
	/* The report pipe must survive place_fds() and close at exec. */
	report = fcntl(report, F_DUPFD_CLOEXEC, FIRST_KEPT_FD + 2 * KEPT_FDS_MAX);
	r = set_up_stdio(out);
	if (r == 0)
		r = place_fds(o);
	if (r == 0 && syscall(SYS_close_range, FIRST_KEPT_FD + o->n_keep_fds, ~0u, 4u /* CLOEXEC */) < 0)
		r = -errno;
	if (r == 0 && o->cwd && chdir(o->cwd) < 0)
		r = -errno;
	for (const char *const *e = o->setenv; r == 0 && e && *e; e++)
		if (putenv((char *)*e) != 0)
			r = -ENOMEM;
	if (r == 0 && files_raised && setrlimit(RLIMIT_NOFILE, &files) < 0)
		r = -errno;
	if (r == 0) {
		execvp(o->argv[0], (char *const *)o->argv);
		r = -errno;
	}
	if (write(report, &r, sizeof(r)) < 0)
		_exit(126);
	_exit(127);
}

static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

/* The child writes its errno if it could not become the program; end of file says it did. */
static int read_report(int fd)
{
	int r = 0;
	ssize_t n;

	do
		n = read(fd, &r, sizeof(r));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(r) ? r : 0;
}

int child_start(struct child *c, const struct child_opts *opts)
{
	int report[2] = {-1, -1}, out[2] = {-1, -1};
	pid_t parent = getpid();
	int r;

	*c = CHILD_INIT;
	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	if (opts->capture && pipe2(out, O_CLOEXEC) < 0) {
		r = -errno;
		goto out;
	}
	c->pid = fork();
	if (c->pid == 0)
		become(opts, out[1], report[1], parent);
	if (c->pid < 0) {
		r = -errno;
		c->pid = 0;
		goto out;
	}
	fd_close(&report[1]);
	fd_close(&out[1]);
	c->output = fd_take(&out[0]);
	c->pidfd = open_pidfd(c->pid);
	r = c->pidfd < 0 ? c->pidfd : read_report(report[0]);
out:
	for (int i = 0; i < 2; i++) {
		fd_close(&report[i]);
		fd_close(&out[i]);
	}
	if (r < 0)
		child_done(c);
	return r;
}

static bool note_forked(pid_t from, pid_t to)
{
	for (size_t i = 0; i < FORKED_MAX; i++)
		if (forked[i] == from) {
			forked[i] = to;
			return true;
		}
	return false;
}

pid_t child_fork(struct child *c)
{
	int r;

	*c = CHILD_INIT;
	c->pid = fork();
	if (c->pid <= 0) {
		r = c->pid < 0 ? -errno : 0;
		c->pid = 0;
		return r;
	}
	c->pidfd = open_pidfd(c->pid);
	r = c->pidfd < 0 ? c->pidfd : 0;
	if (r == 0 && !note_forked(0, c->pid))
		r = -EAGAIN;
	if (r < 0)
		child_done(c);
	return r < 0 ? r : c->pid;
}

static pid_t wait_for(pid_t pid, int *ret_status)
{
	pid_t r;

	do
		r = waitpid(pid, ret_status, 0);
	while (r < 0 && errno == EINTR);
	return r;
}

int child_result(pid_t pid)
{
	int status;

	if (wait_for(pid, &status) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int child_fork_apart(void)
{
	pid_t pid = fork();
	int r;

	if (pid == 0) {
		pid = fork();
		if (pid != 0)
			_exit(pid < 0 ? errno : 0);
		return 0;
	}
	r = pid < 0 ? -errno : child_result(pid);
	return r < 0 ? r : 1;
}

static int reap(struct child *c)
{
	pid_t r = wait_for(c->pid, &c->status);

	c->reaped = true;
	return r < 0 ? -errno : 0;
}

int child_wait(struct child *c, uint64_t deadline)
{
	int r;

	if (c->pid == 0)
		return -ECHILD;
	if (c->reaped)
		return 0;
	r = fd_wait(c->pidfd, POLLIN, deadline);
	return r < 0 ? r : reap(c);
}

int child_kill(struct child *c, int sig)
{
	if (c->pid == 0 || c->reaped)
		return 0;
	if (c->pidfd >= 0)
		return syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
	return kill(c->pid, sig) < 0 ? -errno : 0;
}

void child_done(struct child *c)
{
	if (c->pid > 0 && !c->reaped) {
		child_kill(c, SIGKILL);
		reap(c);
	}
	fd_close(&c->pidfd);
	fd_close(&c->output);
	if (c->pid > 0)
		note_forked(c->pid, 0);
	c->pid = 0;
}

int child_exit_code(const struct child *c)
{
	return WIFEXITED(c->status) ? WEXITSTATUS(c->status) : 128 + WTERMSIG(c->status);
}

void child_said(const struct child *c, char *ret, size_t size)
{
	ssize_t n = 0;

	if (c->output >= 0 && fd_wait(c->output, POLLIN, 0) == 0)
		n = read(c->output, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
}

int child_adopt_orphans(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0;
}

static int children_of_thread(pid_t pid, const char *tid, void (*f)(void *ctx, pid_t child), void *ctx)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *p, *end;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", pid, tid);
	if (file_read(path, CHILDREN_MAX_BYTES, &text, NULL) < 0)
		return 0;
	for (p = text;; p = end, n++) {
		pid_t child = (pid_t)strtol(p, &end, 10);

		if (end == p)
			return n;
		f(ctx, child);
	}
}

int process_children(pid_t pid, void (*f)(void *ctx, pid_t child), void *ctx)
{
	struct dirent *entry;
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.')
			n += children_of_thread(pid, entry->d_name, f, ctx);
	closedir(d);
	return n;
}

static void kill_one(void *ctx, pid_t pid)
{
	int *killed = ctx;

	if (note_forked(pid, pid))
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, WNOHANG);
	++*killed;
}

/* How many there were. */
static int kill_children(void)
{
	int killed = 0, r = process_children(getpid(), kill_one, &killed);

	return r < 0 ? r : killed;
}

int child_kill_descendants(uint64_t deadline)
{
	struct timespec soon = {.tv_nsec = 2000000};
	int n;

	/* Those of a child that was killed come to us a moment later. */
	while ((n = kill_children()) > 0) {
		if (deadline_passed(deadline))
			return -ETIMEDOUT;
		nanosleep(&soon, NULL);
	}
	return n;
}

/* Reads until the write ends are closed; 0, -ETIMEDOUT, -errno. */
static int collect(int fd, char *out, size_t max, uint64_t deadline)
{
	size_t len = 0;

	for (;;) {
		char spill[4096];
		size_t room = out && len < max ? max - len : 0;
		ssize_t n;
		int r = fd_wait(fd, POLLIN, deadline);

		if (r < 0)
			return r;
		n = read(fd, room ? out + len : spill, room ? room : sizeof(spill));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (room) {
			len += (size_t)n;
			out[len] = '\0';
		}
	}
}

static int run(const struct child_opts *o, size_t max, char **ret_out, uint64_t deadline)
{
	_cleanup_child_ struct child c = CHILD_INIT;
	char *out = NULL;
	int r;

	if (ret_out) {
		out = calloc(1, max + 1);
		if (!out)
			return -ENOMEM;
	}
	r = child_start(&c, o);
	if (r == 0)
		r = collect(c.output, out, max, deadline);
	if (r == 0)
		r = child_wait(&c, deadline);
	if (r < 0) {
		free(out);
		return r;
	}
	if (ret_out)
		*ret_out = out;
	return child_exit_code(&c);
}

int child_run(const char *const *argv, size_t max, char **ret_out, uint64_t deadline)
{
	struct child_opts o = {.argv = argv, .capture = true};

	return run(&o, max, ret_out, deadline);
}

int child_run_whole(const char *const *argv, size_t max, char **ret_out, uint64_t deadline)
{
	struct child_opts o = {.argv = argv, .capture = true, .survive_parent = true};

	return run(&o, max, ret_out, deadline);
}
