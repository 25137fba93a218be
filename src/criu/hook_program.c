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

#include "criu/call.h"

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
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	char path[256];

	if (argc < 1 || !action || !is_wanted(action))
		return 0;
	if (snprintf(path, sizeof(path), "%s.sock", argv[0]) >= (int)sizeof(path))
		return 1;
	return call_godwit(path, action, NULL, 0) == 0 ? 0 : 1;
}
