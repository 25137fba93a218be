/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigtmpfs [MB [DIRECTORY]]: keeps a file in a tmpfs, with a lock, and verifies both for ever. /run/status:
 * "ok N". With DIRECTORY there is a child whose root that is (chroot(2)), and which has files outside of it open.
 */
#include "status.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (1u << 20)

static uint8_t block[MB], want[MB];

static void fill(uint8_t *p, uint32_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < MB / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + i * 8, &x, 8);
	}
}

/* A process's own locks never stand in its way: a child asks whether this one still has it. */
static int is_locked(int fd)
{
	struct flock fl = {.l_type = F_WRLCK};
	pid_t self = getpid(), child = fork();
	int result;

	if (child == 0)
		_exit(fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type == F_WRLCK && fl.l_pid == self ? 0 : 1);
	return child > 0 && waitpid(child, &result, 0) == child && result == 0;
}

static void jail(const char *directory)
{
	if (chroot(directory) < 0 || chdir("/") < 0)
		_exit(2);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	uint32_t mb = argc > 1 ? (uint32_t)atoi(argv[1]) : 64;
	struct flock all = {.l_type = F_WRLCK};
	pid_t child = argc > 2 ? fork() : 0;
	FILE *f;

	if (argc > 2 && child == 0)
		jail(argv[2]);
	f = fopen("/tmp/data", "w+");
	if (!f || fcntl(fileno(f), F_SETLK, &all) < 0)
		return 2;
	for (uint32_t i = 0; i < mb; i++) {
		fill(block, i);
		if (fwrite(block, MB, 1, f) != 1)
			return 2;
	}
	for (unsigned long pass = 0;; pass++) {
		status("ok %lu", pass);
		if (!is_locked(fileno(f))) {
			status("WRONG lock %lu", pass);
			return 1;
		}
		if (child > 0 && waitpid(child, NULL, WNOHANG) != 0) {
			status("WRONG child %lu", pass);
			return 1;
		}
		rewind(f);
		for (uint32_t i = 0; i < mb; i++) {
			fill(want, i);
			if (fread(block, MB, 1, f) != 1 || memcmp(block, want, MB) != 0) {
				status("WRONG block %lu", (unsigned long)i);
				return 1;
			}
			usleep(2000);
		}
	}
}
