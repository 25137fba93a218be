/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis FROM/TO/PORT KEYS: runs redis-server and, against it over a unix socket, redis-benchmark
 * with values of 1 kB under so many keys, all in this container. Itself it counts a key up, a
 * thousand times a second, and sends a datagram (beat.h) for each right answer. /run/status: "ok N",
 * or "WRONG ..." when redis forgot.
 */
#include "beat.h"
#include "status.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET "/run/redis.sock"
#define TURN_NS 1000000
#define START_TRIES 3000 /* 30 s */
#define ANSWER_MS 60000

static void start(char *const argv[])
{
	pid_t pid = fork();

	if (pid > 0)
		return;
	if (pid == 0)
		execv(argv[0], argv);
	exit(3);
}

static int connect_redis(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = SOCKET};

	for (int i = 0; i < START_TRIES; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
			return fd;
		close(fd);
		usleep(10000);
	}
	exit(4);
}

/* A restored process's poll(2) is interrupted (CRIU can't take up again what has a timeout). */
static int wait_answer(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r;

	do
		r = poll(&p, 1, ANSWER_MS);
	while (r < 0 && errno == EINTR);
	return r == 1 ? 0 : -1;
}

/* What INCR gives: the answer is ":NUMBER\r\n", and short enough to come as a whole. */
static long count_up(int fd)
{
	static const char command[] = "INCR beat\r\n";
	char text[64] = "";

	if (write(fd, command, sizeof(command) - 1) != sizeof(command) - 1 ||
		wait_answer(fd) < 0 || read(fd, text, sizeof(text) - 1) <= 0 || text[0] != ':')
		return -1;
	return atol(text + 1);
}

int main(int argc, char **argv)
{
	char *server[] = {"/usr/bin/redis-server", "--port", "0", "--unixsocket", SOCKET, "--save",
		"", "--dir", "/tmp", "--daemonize", "no", "--logfile", "/tmp/redis.log", NULL};
	char *load[] = {"/usr/bin/redis-benchmark", "-s", SOCKET, "-l", "-q", "-c", "4", "-t",
		"set,get", "-d", "1000", "-r", argc > 2 ? argv[2] : "100000", NULL};
	struct beat beat;
	int fd;

	if (argc < 2 || beat_open(&beat, argv[1]) < 0)
		return 2;
	signal(SIGCHLD, SIG_IGN);
	start(server);
	fd = connect_redis();
	start(load);
	for (long n = 1;; n++) {
		long got = count_up(fd);

		if (got != n) {
			status("WRONG count %ld", got);
			return 1;
		}
		beat_send(&beat);
		if (n % 100 == 0)
			status("ok %ld", n);
		nanosleep(&(struct timespec){.tv_nsec = TURN_NS}, NULL);
	}
}
