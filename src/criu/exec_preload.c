/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into CRIU: a child that it has made to become one of two programs does itself what the program
 * would do, since becoming it takes half a millisecond, fifteen times in a freeze. Everything else is as it was.
 */
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "criu/steps.h"

__attribute__((visibility("default"))) int execvp(const char *file, char *const argv[])
{
	int (*become)(const char *, char *const *);

	if (strcmp(file, STEPS_HOOK) == 0)
		_exit(step_hook(file));
	if (strcmp(file, "tar") == 0 && argv[0] && step_tar(argv + 1) == 0)
		_exit(0);
	*(void **)&become = dlsym(RTLD_NEXT, "execvp");
	return become(file, argv);
}
