/* SPDX-License-Identifier: Apache-2.0 */
/* The tar that CRIU finds first: it lets godwit do the work (tmpfs.h), and starts the real one when that can't be. */
#include <unistd.h>

#include "criu/steps.h"

int main(int argc, char **argv)
{
	if (argc > 1 && step_tar(argv + 1) == 0)
		return 0;
	execv("/usr/bin/tar", argv);
	execv("/bin/tar", argv);
	return 127;
}
