/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/journal.h"
#include "report/report.h"

#include <stdbool.h>
#include <stddef.h>

enum recovery {
	RECOVERY_HERE,	  /* the container belongs to this host and runs on */
	RECOVERY_CLEARED, /* it belongs to the other host; nothing of it is left here */
	RECOVERY_OTHER,	  /* the same; what runs here under its name is not of godwit's making: left alone */
	RECOVERY_GONE,	  /* it belonged to this host, and has ended: j->gone says how */
	RECOVERY_RUNS,	  /* it runs here, and the source has not said good-bye: nothing was changed */
	RECOVERY_BUSY,	  /* a process is at it, or was first */
	RECOVERY_DOUBT,	  /* nobody can tell now: nothing was changed, and the error says why */
};

/* With what a target can be asked. */
struct recovery_means {
	const char *config_dir; /* identity and peers; NULL: it can't */
	bool patient; /* tries for as long as a source does (RESUME_MS), not once */
	struct report *report; /* what goes on; or NULL */
};

/*
 * Settles what a process that died has left behind, by its journal, and, beyond the commit, by the target's
 * answer.
 *
 * Before "committed" the source owns the container: it is thawed there and gets its address back;
 * before "owner" nothing has run on the target: what was restored is deleted. A source that has committed
 * asks: what the target lacks is sent from the frozen processes, which then are deleted; or it does not know
 * of it, and so never will run it, and the container goes on here (docs/CORRECTNESS.md). VRRP, where it
 * owns the address, is told not to have it here before anybody is asked.
 *
 * A checkpoint that died when its directory was whole is brought to its end: the container is ended here.
 *
 * If the host was rebooted since, or somebody has deleted the container by hand and started another one, nothing of it
 * can be left, and what has its name, its cgroup or its address was made since: then nothing but the journal is
 * changed, and VRRP's instance.
 *
 * *j is read anew: what counts is what the journal says once it is claimed.
 */
int recover_entry(struct journal_entry *j, const struct recovery_means *means, enum recovery *ret,
	struct err *e);
