/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The action script that CRIU runs. It is started several times within the freeze, so it links
 * nothing but libc, and steps that godwit has no interest in end at once.
 *
 * Its socket is beside it: argv[0] is its own path, as CRIU's configuration names it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *const wanted[] = {
	"pre-dump", "post-dump", "status-ready", "pre-restore", "post-restore", "post-resume", NULL,
};

static int is_wanted(const char *action)
{
	for (size_t i = 0; wanted[i]; i++)
		if (strcmp(action, wanted[i]) == 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	char answer = 'n';
	int fd;

	if (argc < 1 || !action || !is_wanted(action))
		return 0;
	if (snprintf(at.sun_path, sizeof(at.sun_path), "%s.sock", argv[0]) >=
		(int)sizeof(at.sun_path))
		return 1;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return 1;
	if (write(fd, action, strlen(action) + 1) < 0 || read(fd, &answer, 1) != 1)
		return 1;
	return answer == 'y' ? 0 : 1;
}
