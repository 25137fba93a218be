/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cgroup_warm.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>

#define EVERY_MS 4
#define LASTS_MS 10000
#define LOOK_MS 100

static bool is_wanted(const struct cgroup_warmer *w)
{
	return !deadline_passed(atomic_load(&w->until));
}

static void *run(void *arg)
{
	const struct cgroup_warmer *w = arg;
	char dir[PATH_MAX], path[PATH_MAX + 16];

	if (cgroup_own(dir, sizeof(dir)) < 0)
		return NULL;
	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	do
		/* Where other controllers are delegated it is refused, with the lock taken all the
		 * same. */
		if (is_wanted(w))
			file_poke(path, "0");
	while (fd_wait(w->stop, POLLIN, deadline_in_ms(is_wanted(w) ? EVERY_MS : LOOK_MS)) == -ETIMEDOUT);
	return NULL;
}

void cgroup_warm_start(struct cgroup_warmer *w)
{
	atomic_store(&w->until, deadline_in_ms(LASTS_MS));
	if (w->stop >= 0)
		return;
	w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->stop >= 0 && pthread_create(&w->thread, NULL, run, w) != 0)
		fd_close(&w->stop);
}

void cgroup_warm_stop(struct cgroup_warmer *w)
{
	if (w->stop < 0)
		return;
	eventfd_write(w->stop, 1);
	pthread_join(w->thread, NULL);
	fd_close(&w->stop);
}
