/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/guard.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hex.h"
#include "migrate/door.h"
#include "migrate/recover.h"
#include "wire/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What the dead process has started dies with it; that takes a moment. */
#define SETTLE_MS 200
#define END_MS 5000
#define END_PAUSE_MS 2

static bool find_entry(const struct journal *j, struct journal_entry *ret)
{
	uint8_t id[MSG_ID_LEN];

	return hex_parse(j->id, id, sizeof(id)) && journal_find(id, j->source, ret) == 0;
}

/* The dead process closes its pipe before it has ended; until then it counts as alive. A keeper that ends
 * with it may have a word to say in the journal. */
static int settle_when_dead(const struct journal *what, struct journal_entry *j,
	const char *config_dir, enum recovery *ret, struct err *e)
{
	const struct recovery_means means = {.config_dir = config_dir, .patient = true};
	struct timespec pause = {.tv_nsec = END_PAUSE_MS * (long)NSEC_PER_MSEC};
	uint64_t deadline = deadline_in_ms(END_MS);
	int r;

	while ((r = recover_entry(j, &means, ret, e)) == 0 && *ret == RECOVERY_BUSY &&
		!deadline_passed(deadline) && find_entry(what, j))
		nanosleep(&pause, NULL);
	return r;
}

static void settle(const struct journal *what, const char *config_dir)
{
	struct timespec pause = {.tv_nsec = SETTLE_MS * (long)NSEC_PER_MSEC};
	struct journal_entry j;
	enum recovery how;
	struct err e = ERR_INIT;

	if (!find_entry(what, &j))
		return;
	/* A target's restore has to be gone before it is cleared away; a source's container waits
	 * for nothing. */
	if (strcmp(j.role, "target") == 0)
		nanosleep(&pause, NULL);
	if (settle_when_dead(what, &j, config_dir, &how, &e) < 0)
		fprintf(stderr, "godwit: %s: %s\n", j.container, e.text);
	else if (how == RECOVERY_DOUBT)
		fprintf(stderr, "godwit: %s is in doubt: %s\n", j.container, e.text);
}

/* Only standard error, the pipe and what is to be kept stay open: nothing else may live on with us. */
__attribute__((noreturn)) static void guard_main(int pipe_end, int keep, const struct journal *what,
	const char *config_dir)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	prctl(PR_SET_NAME, "godwit-guard");
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	/* Both out of the way first. */
	pipe_end = fcntl(pipe_end, F_DUPFD, 10);
	keep = keep < 0 ? null : fcntl(keep, F_DUPFD, 10);
	dup2(pipe_end, 3);
	dup2(keep, 4);
	syscall(SYS_close_range, 5u, ~0u, 0u);
	fd_wait(3, POLLIN, DEADLINE_NEVER);
	settle(what, config_dir);
	/* We had a copy of the door until just now, and the agent may have looked before. */
	doors_sweep();
	_exit(0);
}

int guard_start(struct guard *g, const struct journal *j, const char *config_dir, int keep,
	struct err *e)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe of the guard");
	r = child_fork_apart();
	if (r == 0) {
		close(ends[1]);
		guard_main(ends[0], keep, j, config_dir);
	}
	close(ends[0]);
	if (r < 0) {
		close(ends[1]);
		return err_sys(e, -r, "starting the guard");
	}
	g->alive = ends[1];
	return 0;
}

void guard_done(struct guard *g)
{
	fd_close(&g->alive);
}
