/* SPDX-License-Identifier: Apache-2.0 */
/* The action script that CRIU runs, where it isn't spared to (exec_preload.c). argv[0] is its own path, as CRIU's
 * configuration names it. It links nothing but libc: it is started several times within the freeze. */
#include "criu/steps.h"

int main(int argc, char **argv)
{
	return argc < 1 ? 0 : step_hook(argv[0]);
}
