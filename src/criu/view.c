/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/view.h"

#include "base/file.h"
#include "criu/view_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct view_span) == sizeof(struct range), "ranges are written as they are");

static int write_file(pid_t pid, const char *what, const void *data, size_t len)
{
	char path[128];

	snprintf(path, sizeof(path), VIEW_FILE, pid, what);
	return file_write_atomic(path, data, len, 0600);
}

int view_narrow(pid_t pid, const struct ranges *spared, const char *smaps, struct err *e)
{
	int r = dir_make(VIEW_DIR, 0700);

	if (r == 0)
		r = write_file(pid, VIEW_SMAPS, smaps, strlen(smaps));
	/* Last: pages are left out of regions that CRIU knows by the other file alone. */
	if (r == 0)
		r = write_file(pid, VIEW_SPARED, spared->v, spared->n * sizeof(spared->v[0]));
	return r < 0 ? err_sys(e, -r, "what CRIU shall see of process %d", pid) : 0;
}
