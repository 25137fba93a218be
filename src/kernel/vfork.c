/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/vfork.h"

#include "kernel/status.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

bool vfork_borrows(pid_t pid)
{
	pid_t parent = process_parent(pid);

	return parent > 0 && syscall(SYS_kcmp, pid, parent, KCMP_VM, 0, 0) == 0;
}
