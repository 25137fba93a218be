/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cancel.h"

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/journal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNDO_MS 120000
#define LOOK_MS 200 /* the step may change meanwhile, and no event tells */

static bool find(const char *container, struct journal_entry *ret)
{
	struct journal_entry *v;
	bool found = false;
	size_t n;

	if (journal_list(&v, &n, NULL) < 0)
		return false;
	for (size_t i = 0; i < n && !found; i++)
		if (v[i].alive && strcmp(v[i].container, container) == 0) {
			*ret = v[i];
			found = true;
		}
	free(v);
	return found;
}

static bool is_handed_over(const struct journal_entry *j)
{
	return strcmp(j->step, "prepared") != 0 && strcmp(j->step, "frozen") != 0;
}

static int refuse_late(const struct journal_entry *j, struct err *e)
{
	bool source = strcmp(j->role, "source") == 0;

	if (strcmp(j->step, "kept") == 0) {
		err_set(e, ERR_REFUSED, EALREADY, "%s is whole in %s: that can not be cancelled any more",
			j->container, j->peer);
		return err_remedy(e, "'godwit restore %s' brings it back", j->peer);
	}
	err_set(e, ERR_REFUSED, EALREADY, "%s has been handed over to %s: that can not be cancelled any more",
		j->container, source ? j->peer : "this host");
	return err_remedy(e, "it goes on by itself; when it is over, migrate it back");
}

/* Until its process has ended, or it is too late. */
static int wait_end(int pidfd, struct journal_entry *j, struct err *e)
{
	uint64_t deadline = deadline_in_ms(UNDO_MS);

	while (fd_wait(pidfd, POLLIN, deadline_in_ms(LOOK_MS)) == -ETIMEDOUT) {
		if (find(j->container, j) && is_handed_over(j))
			return refuse_late(j, e);
		if (deadline_passed(deadline))
			return err_set(e, ERR_LOCAL, ETIMEDOUT, "process %d does not end", j->pid);
	}
	return 0;
}

int cancel_migration(const char *container, struct err *e)
{
	_cleanup_close_ int pidfd = -1;
	struct journal_entry j;

	if (!find(container, &j)) {
		err_set(e, ERR_REFUSED, ENOENT, "no migration of %s is under way here", container);
		return err_remedy(e, "'godwit status' shows those that are");
	}
	pidfd = (int)syscall(SYS_pidfd_open, j.pid, 0);
	/* Looked at again: now the number can't become another's. */
	if (pidfd < 0 || !find(container, &j))
		return err_set(e, ERR_REFUSED, ESRCH, "the migration of %s has just ended", container);
	if (is_handed_over(&j))
		return refuse_late(&j, e);
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGINT, NULL, 0) < 0)
		return err_sys(e, errno, "signalling process %d", j.pid);
	return wait_end(pidfd, &j, e);
}
