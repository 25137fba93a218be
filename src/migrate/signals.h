/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/wait.h"

#include <stdbool.h>

/* SIGINT, SIGTERM and SIGHUP, which are blocked, as the error "interrupted" of a wait. */

struct signals {
	int fd; /* owned */
	bool ignore; /* beyond the commit nothing can be cancelled any more */
};

int signals_watch(struct signals *s, struct waiter *w, struct err *e);
/* The same for another waiter. */
int signals_also(struct signals *s, struct waiter *w);
void signals_done(struct signals *s);
