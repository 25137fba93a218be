/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/vfork.h"

#include "base/file.h"

#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAT_MAX 4096

/* Fourth in proc_pid_stat(5), behind a name that may hold anything. */
static pid_t parent_of(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *p;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (file_read(path, STAT_MAX, &text, NULL) < 0)
		return 0;
	p = strrchr(text, ')');
	return p && sscanf(p, ") %*c %d", &parent) == 1 ? parent : 0;
}

bool vfork_borrows(pid_t pid)
{
	pid_t parent = parent_of(pid);

	return parent > 0 && syscall(SYS_kcmp, pid, parent, KCMP_VM, 0, 0) == 0;
}
