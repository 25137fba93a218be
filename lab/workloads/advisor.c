/* SPDX-License-Identifier: Apache-2.0 */
/*
 * advisor [MB]: withholds a region of its memory from its children, and gives it to them again, very often
 * (madvise(2)), which leaves no trace in /proc/PID/maps; now and then a child sees whether it has
 * it. It has MB more, for godwit to take it for a large process. /run/status: "ok N" for N pairs of children, or
 * "WRONG N" when it wasn't as advised.
 */
#include "status.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MB (1u << 20)
#define REGION (32 * MB) /* large to godwit, and quickly forked: only one page of it is written */
#define CHANGES 100
#define ADVICE_NS 50000

/* By the kernel, which says EFAULT where a read would be a signal. */
static bool is_there(const uint8_t *p)
{
	int pipes[2];
	bool there;

	if (pipe(pipes) < 0)
		_exit(4);
	there = write(pipes[1], p, 1) == 1;
	close(pipes[0]);
	close(pipes[1]);
	return there;
}

static bool child_has(const uint8_t *p)
{
	pid_t child = fork();
	int result;

	if (child == 0)
		_exit(is_there(p) ? 0 : 1);
	if (child < 0 || waitpid(child, &result, 0) != child || !WIFEXITED(result) || WEXITSTATUS(result) > 1)
		exit(4);
	return WEXITSTATUS(result) == 0;
}

static void advise(uint8_t *p, int advice)
{
	struct timespec ts = {.tv_nsec = ADVICE_NS};

	if (madvise(p, REGION, advice) < 0)
		exit(4);
	nanosleep(&ts, NULL);
}

static bool turn(uint8_t *p, int advice)
{
	for (unsigned i = 0; i < CHANGES; i++)
		advise(p, i % 2 ? MADV_DOFORK : MADV_DONTFORK);
	advise(p, advice);
	return child_has(p) == (advice == MADV_DOFORK);
}

static uint8_t *map(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(2);
	return p;
}

int main(int argc, char **argv)
{
	size_t len = (argc > 1 ? (size_t)atoi(argv[1]) : 96) * MB;
	uint8_t *rest = map(len), *p = map(REGION);
	unsigned long n = 0;

	memset(rest, 1, len);
	madvise(rest, len, MADV_DONTFORK);
	/* With the same rights the two would be one whenever both are withheld. */
	mprotect(rest, len, PROT_READ);
	*p = 1;
	while (turn(p, MADV_DONTFORK) && turn(p, MADV_DOFORK))
		status("ok %lu", ++n);
	status("WRONG %lu", n);
	for (;;)
		pause();
}
