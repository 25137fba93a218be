/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Child processes, held by pidfd so that a recycled pid is never signalled. Every child gets
 * SIGKILL when its parent dies unless it is to survive that, a session of its own, which no Ctrl-C
 * reaches, unless it needs the terminal, /dev/null as standard input and no descriptor but those named.
 */

/*
 * From now on this process may have as many descriptors open as it is allowed to at all (RLIMIT_NOFILE): a
 * container of many processes takes some for each. Programs that it starts get the limit that was.
 */
void child_raise_files(void);

struct child {
	pid_t pid;  /* 0: none */
	int pidfd;  /* owned; readable when it has ended */
	int output; /* owned; read end of its stdout and stderr together, or -1 */
	bool reaped;
	int status; /* as waitpid(2) gives it, once reaped */
};

#define CHILD_INIT ((struct child){.pidfd = -1, .output = -1})

struct child_opts {
	const char *const *argv; /* argv[0] is looked up in PATH */
	bool capture;		 /* collect stdout and stderr in a pipe, else both to /dev/null */
	bool survive_parent;	 /* no SIGKILL at the parent's death */
	bool on_terminal;	 /* no session of its own: it may ask there, and is reached by a Ctrl-C */
	const int *keep_fds;	 /* inherited as descriptors 3, 4, … */
	size_t n_keep_fds;
	const char *cwd; /* or NULL */
	const char *const *setenv; /* "NAME=value" strings added to the environment, or NULL */
};

/* Starts a program; -ENOENT when there is none of that name. The caller ends with child_done(). */
int child_start(struct child *c, const struct child_opts *opts);

/*
 * fork(2): 0 in the new process, which is a part of this program and not what a program leaves behind;
 * else its pid, or -errno.
 */
pid_t child_fork(struct child *c);

/*
 * fork(2) of a process that isn't our child: child_kill_descendants() spares it, unless child_adopt_orphans() came
 * before. 0 in it, else 1, or -errno.
 */
int child_fork_apart(void);

/* Waits for a child of fork(2) whose exit code is 0 or an errno: 0, or -errno; -EIO of one that was killed. */
int child_result(pid_t pid);

/* Waits for its end; 0 and c->status, -ETIMEDOUT (it still runs), -errno. */
int child_wait(struct child *c, uint64_t deadline);

/* Signals it if it has not been reaped. */
int child_kill(struct child *c, int sig);

/* Kills and reaps what still runs, closes all. Safe on CHILD_INIT and twice. */
void child_done(struct child *c);
#define _cleanup_child_ __attribute__((cleanup(child_done)))

/*
 * From now on what this process's children leave behind becomes its own child, so that
 * child_kill_descendants() finds it. 0 or -errno.
 */
int child_adopt_orphans(void);

/* Calls @f with each child of a process; how many there were, or -errno. */
int process_children(pid_t pid, void (*f)(void *ctx, pid_t child), void *ctx);

/* Kills and reaps everything that descends from this process but what child_fork() has made and
 * child_done() has not ended. -ETIMEDOUT. */
int child_kill_descendants(uint64_t deadline);

/* Exit code, or 128 + signal. */
int child_exit_code(const struct child *c);

/* What one that was started with .capture has said so far, up to @size - 1 bytes of it; "" for nothing. It isn't waited
 * for more: children of its own may have the pipe open when it has ended. */
void child_said(const struct child *c, char *ret, size_t size);

/*
 * Runs a program to its end and collects at most @max bytes of its output (the rest is read and
 * dropped) into *ret_out, zero-terminated, which the caller frees; NULL drops all. At the
 * deadline it is killed: -ETIMEDOUT. Returns its exit code (>= 0) or -errno.
 */
int child_run(const char *const *argv, size_t max, char **ret_out, uint64_t deadline);

/* The same for a short program whose own children would be left if it were killed: it outlives this process. */
int child_run_whole(const char *const *argv, size_t max, char **ret_out, uint64_t deadline);
