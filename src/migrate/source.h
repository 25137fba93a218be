/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "report/report.h"
#include "wire/msg.h"

#include <stdbool.h>
#include <stdint.h>

struct source_options {
	const char *container, *target; /* a peer's name or ssh://HOST */
	const char *config_dir;
	enum msg_mode mode;
	const char *tracker; /* as for tracker_new() */
	unsigned streams; /* bulk connections, 1 to 16 */
	unsigned max_downtime_ms; /* what the remainder of a copy may add to the freeze */
	uint64_t bandwidth; /* bytes a second for memory, 0: no limit */
	bool throttle; /* in mode pre: slow down a container that outruns the link */
	bool dry_run;	  /* end after the checks */
};

/*
 * Migrates a container away from this host. Until the commit a failure, a lost link, SIGINT or
 * SIGTERM end with the container running here. What CRIU was shown of its memory may turn out to have been out
 * of date: then all is undone, and done once more without that. The caller has one thread and has blocked those
 * signals.
 */
int source_run(const struct source_options *o, struct report *report, struct err *e);
