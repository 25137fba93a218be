/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/signals.h"

#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int on_signal(void *ctx, struct err *e)
{
	struct signals *s = ctx;
	struct signalfd_siginfo info;

	if (read(s->fd, &info, sizeof(info)) != sizeof(info) || s->ignore)
		return 0;
	return err_set(e, ERR_CANCELLED, ECANCELED, "interrupted");
}

int signals_watch(struct signals *s, struct waiter *w, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->fd < 0 ? err_sys(e, errno, "signals") : signals_also(s, w);
}

int signals_also(struct signals *s, struct waiter *w)
{
	return waiter_add(w, s->fd, on_signal, s);
}

void signals_done(struct signals *s)
{
	fd_close(&s->fd);
}
