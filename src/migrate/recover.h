/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/journal.h"

#include <stddef.h>

enum recovery {
	RECOVERY_HERE,	  /* the container belongs to this host and runs on */
	RECOVERY_CLEARED, /* it belongs to the other host; nothing of it is left here */
	RECOVERY_DOUBT,	  /* only both hosts together can tell: nothing was changed */
};

/*
 * Settles what a process that died has left behind, by its journal alone.
 *
 * Before "committed" the source owns the container: it is thawed there and gets its address back;
 * before "owner" nothing has run on the target: what was restored is deleted. Beyond that this host
 * can't know what the other one did.
 */
int recover_entry(const struct journal_entry *j, const char *config_dir, enum recovery *ret,
	struct err *e);
