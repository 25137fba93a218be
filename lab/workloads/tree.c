/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: a tree of six processes and twelve threads that hold file locks and verify their own
 * memory for ever; children map, unmap, remap and discard as they go, and fork short-lived
 * children that verify what they inherited. /run/status says "ok N", or "WRONG ...".
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MREMAP_FLAGS 1 /* MREMAP_MAYMOVE */
#define PAGE 4096u
#define PAGES 512u
#define CHILDREN 5

extern void *mremap(void *, size_t, size_t, int, ...);

static volatile sig_atomic_t child_failed;

static void status(const char *text, unsigned long n)
{
	char name[64];
	FILE *f;

	snprintf(name, sizeof(name), "/run/status.%d", getpid());
	f = fopen(name, "w");
	if (!f)
		exit(3);
	fprintf(f, "%s %lu\n", text, n);
	fclose(f);
	rename(name, "/run/status");
}

static void fill(uint8_t *p, uint32_t seed)
{
	for (uint32_t i = 0; i < PAGES; i++)
		memset(p + i * PAGE, (int)(seed + i * 7) & 0xff, PAGE);
}

static void verify(const uint8_t *p, uint32_t seed, const char *what)
{
	for (uint32_t i = 0; i < PAGES * PAGE; i++)
		if (p[i] != (uint8_t)(seed + i / PAGE * 7)) {
			status(what, i);
			_exit(1);
		}
}

static uint8_t *map_filled(uint32_t seed)
{
	uint8_t *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	fill(p, seed);
	return p;
}

static void *thread_main(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg;
	uint8_t *p = map_filled(seed);

	for (;;) {
		verify(p, seed, "WRONG thread");
		usleep(20000);
	}
	return NULL;
}

static void fork_and_verify(const uint8_t *p, uint32_t seed)
{
	int st;
	pid_t pid = fork();

	if (pid == 0) {
		verify(p, seed, "WRONG grandchild");
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &st, 0) != pid || st != 0)
		_exit(1);
}

static void take_lock(int number)
{
	struct flock fl = {.l_type = F_WRLCK, .l_start = number, .l_len = 1};
	int fd = open("/run/lock", O_RDWR | O_CREAT, 0600);

	if (fd < 0 || fcntl(fd, F_SETLK, &fl) < 0)
		_exit(4);
}

static void child_main(uint32_t number)
{
	uint32_t seed = number * 31;
	uint8_t *still = map_filled(seed), *moving = map_filled(seed + 1);
	pthread_t t;

	take_lock((int)number);
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&t, NULL, thread_main, (void *)(seed + 2 + i));
	for (uint32_t round = 0;; round++) {
		uint8_t *fresh = map_filled(round);

		verify(still, seed, "WRONG child");
		verify(moving, seed + 1, "WRONG moved");
		moving = mremap(moving, PAGES * PAGE, PAGES * PAGE, MREMAP_FLAGS | 2, fresh);
		fork_and_verify(moving, seed + 1);
		madvise(still, PAGES * PAGE, MADV_DONTNEED);
		if (still[(round % PAGES) * PAGE] != 0)
			_exit(5);
		fill(still, seed);
		usleep(10000);
	}
}

/* A child that found something wrong has said so; one that was killed has not. */
static void keep_what_child_said(void)
{
	char said[128] = "", text[64];
	FILE *f = fopen("/run/status", "r");
	int st = 0;

	if (f && fgets(said, sizeof(said), f) && strncmp(said, "WRONG", 5) == 0)
		return;
	waitpid(-1, &st, 0);
	snprintf(text, sizeof(text), "WRONG child ended: %s",
		WIFSIGNALED(st) ? "signal" : "exit code");
	status(text, (unsigned long)(WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st)));
}

static void on_child(int sig)
{
	(void)sig;
	child_failed = 1;
}

int main(void)
{
	uint8_t *p = map_filled(99);

	signal(SIGCHLD, on_child);
	take_lock(0);
	for (uint32_t i = 1; i <= CHILDREN; i++)
		if (fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			child_main(i);
		}
	for (unsigned long n = 0; !child_failed; n++) {
		verify(p, 99, "WRONG parent");
		status("ok", n);
		usleep(50000);
	}
	keep_what_child_said();
	for (;;)
		pause();
}
