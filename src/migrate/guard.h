/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/journal.h"

/*
 * A process that outlives ours, however that ends, and then settles what the journal says is open:
 * a container that was frozen here runs on within milliseconds after a "kill -9", and one that was
 * half restored leaves nothing behind.
 */

struct guard {
	int alive; /* owned: the guard sees its other end close */
};

#define GUARD_INIT ((struct guard){-1})

/* Before the workplace is entered; the caller has one thread. @j has begun. @config_dir: with whose keys a
 * target is asked, or NULL. @keep: a descriptor that stays open as long as the guard, or -1. */
int guard_start(struct guard *g, const struct journal *j, const char *config_dir, int keep,
	struct err *e);

/* Our end of it; the guard goes when there is no journal any more. */
void guard_done(struct guard *g);
