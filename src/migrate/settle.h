/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/journal.h"
#include "migrate/recover.h"
#include "wire/msg.h"

/*
 * The place of a source's process that died after the commit: asks the target, and sends it what it lacks
 * from the frozen processes.
 *
 * Returns with *ret STATE_DRAINED (the journal says so, and the target has been told good-bye or couldn't
 * be), or STATE_UNKNOWN: it does not run there and never will. Any error: it can't be told.
 */
int settle_committed(struct journal *j, const struct recovery_means *means, enum msg_state *ret,
	struct err *e);
