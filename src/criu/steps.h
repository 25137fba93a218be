/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "criu/call.h"
#include "criu/workplace.h"

/*
 * What CRIU starts programs for within the freeze: the steps of its action script, and archives of tmpfs. In
 * the programs (hook_program.c, tar_program.c), and in a child of CRIU's in their place (exec_preload.c).
 */

#define STEPS_HOOK WORKPLACE_DIR "/hook" /* hook.h */

/* An exit code. At once for steps that godwit has no interest in. */
static inline int step_hook(const char *own_path)
{
	static const char *const wanted[] = {
		"pre-dump", "post-dump", "status-ready", "pre-restore", "post-restore", "post-resume",
	};
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION");
	char path[256];

	for (size_t i = 0; action && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (strcmp(action, wanted[i]) != 0)
			continue;
		/* Its socket is beside it. */
		if (snprintf(path, sizeof(path), "%s.sock", own_path) >= (int)sizeof(path))
			return 1;
		return call_godwit(path, action, NULL, 0) == 0 ? 0 : 1;
	}
	return 0;
}

static inline const char *step_option(char *const *argv, const char *name)
{
	for (; argv[0]; argv++)
		if (strcmp(argv[0], name) == 0)
			return argv[1] ? argv[1] : "";
	return NULL;
}

/* There owners have other numbers than outside of it: that is left to the real tar. */
static inline int step_in_user_namespace(void)
{
	unsigned inside, outside, n = 0;
	FILE *f = fopen("/proc/self/uid_map", "re");
	int r = !f || fscanf(f, "%u %u %u", &inside, &outside, &n) != 3 || inside || outside ||
		n != 0xffffffff;

	if (f)
		fclose(f);
	return r;
}

/*
 * CRIU calls "tar --create ... --directory DIR ." with the archive as standard output and "tar
 * --extract ... --directory DIR" with it as standard input (criu/filesystems.c). 0 when godwit has done it.
 */
static inline int step_tar(char *const *argv)
{
	const char *dir = step_option(argv, "--directory");
	int creates = step_option(argv, "--create") != NULL;
	int fds[2] = {-1, creates ? STDOUT_FILENO : STDIN_FILENO};

	if (!dir || !step_option(argv, "--gzip") || (!creates && !step_option(argv, "--extract")) ||
		step_in_user_namespace())
		return -1;
	fds[0] = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fds[0] < 0 ? -1 : call_godwit(STEPS_HOOK ".sock", creates ? "create" : "extract", fds, 2);
}
