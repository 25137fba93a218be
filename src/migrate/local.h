/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "report/report.h"

#include <stdbool.h>

/*
 * A container kept in a directory, and brought back from it, here or on another host that has its
 * bundle. The directory: "images" (CRIU's) and "manifest.json", written last, with digests of all.
 *
 * Callers have one thread and have blocked SIGINT, SIGTERM and SIGHUP.
 */

struct checkpoint_options {
	const char *container;
	const char *dir;    /* must not exist */
	bool leave_running; /* a snapshot: the container goes on */
};

/* A failure leaves the container running and no directory. */
int checkpoint_run(const struct checkpoint_options *o, struct report *report, struct err *e);

/* A failure leaves nothing restored; the directory is only read. */
int restore_run(const char *dir, struct report *report, struct err *e);
