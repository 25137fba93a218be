/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/throttle.h"

#include "base/clock.h"
#include "base/fd.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define PERIOD_MS 20

struct throttle {
	char cgroup[4096];
	pthread_t thread;
	int stop; /* owned */
	unsigned percent;
};

/* False when it is time to end. */
static bool pass(const struct throttle *t, uint64_t ms)
{
	return fd_wait(t->stop, POLLIN, deadline_in_ms(ms)) == -ETIMEDOUT;
}

static void *run(void *arg)
{
	struct throttle *t = arg;
	uint64_t held = PERIOD_MS * t->percent / 100;
	bool on = true;

	while (on) {
		/* By somebody else: it is his to thaw, and what comes after the round refuses. */
		bool frozen = cgroup_freeze_is_asked(t->cgroup);

		if (!frozen)
			cgroup_freeze(t->cgroup, deadline_in_ms(held));
		on = pass(t, held);
		if (!frozen)
			cgroup_thaw(t->cgroup);
		on = on && pass(t, PERIOD_MS - held);
	}
	return NULL;
}

int throttle_new(const char *cgroup, unsigned percent, struct throttle **ret, struct err *e)
{
	struct throttle *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_sys(e, ENOMEM, "throttle");
	t->percent = percent;
	snprintf(t->cgroup, sizeof(t->cgroup), "%s", cgroup);
	t->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = t->stop < 0 ? errno : pthread_create(&t->thread, NULL, run, t);
	if (r != 0) {
		fd_close(&t->stop);
		free(t);
		return err_sys(e, r, "starting the throttle");
	}
	*ret = t;
	return 0;
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	eventfd_write(t->stop, 1);
	pthread_join(t->thread, NULL);
	fd_close(&t->stop);
	free(t);
}
