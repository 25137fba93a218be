/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/anchor.h"

#include "base/clock.h"
#include "base/fd.h"
#include "kernel/uffd.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_MS 200 /* nothing tells that a userfaultfd's process has ended */

struct anchor_state {
	atomic_bool owned;
};

/* Closes all but the standard ones and userfaultfds of processes that live; how many those are. */
static size_t close_dead(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t alive = 0;

	while (d && (entry = readdir(d))) {
		int fd = atoi(entry->d_name);

		if (fd <= STDERR_FILENO || fd == dirfd(d))
			continue;
		if (uffd_is(fd) && !uffd_is_dead(fd))
			alive++;
		else
			close(fd);
	}
	if (d)
		closedir(d);
	return alive;
}

__attribute__((noreturn)) static void anchor_main(struct anchor *a)
{
	const struct keeper_config *c = &a->config;

	prctl(PR_SET_NAME, "godwit-anchor");
	fd_wait(a->keeper, POLLIN, DEADLINE_NEVER);
	if (close_dead() > 0 && atomic_load(&a->state->owned) && c->lost)
		c->lost(c->ctx);
	while (close_dead() > 0)
		poll(NULL, 0, LOOK_MS);
	_exit(0);
}

int anchor_cast(struct anchor *a)
{
	a->pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (a->pid == 0)
		anchor_main(a);
	return a->pid < 0 ? -errno : 0;
}

int anchor_start(struct anchor *a, const struct keeper_config *c, struct err *e)
{
	int r;

	a->config = *c;
	a->keeper = (int)syscall(SYS_pidfd_open, getpid(), 0);
	a->state = mmap(NULL, sizeof(*a->state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (a->keeper < 0 || a->state == MAP_FAILED)
		return err_sys(e, errno, "anchor of the keeper");
	r = anchor_cast(a);
	return r < 0 ? err_sys(e, -r, "starting the anchor of the keeper") : 0;
}

void anchor_own(struct anchor *a)
{
	atomic_store(&a->state->owned, true);
}
