/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/space.h"
#include "migrate/flow.h"
#include "migrate/signals.h"
#include "wire/msg.h"

#include <stdint.h>

/*
 * The source, after the commit, when the link has been lost: asks the target what has become of the
 * migration, and sends what it lacks. The target's half: migrate/await.h.
 */

#define RESUME_MS 600000 /* for how long it is tried at most */

struct resume {
	struct flow *flow; /* borrowed; cut off, and made anew */
	const uint8_t *id; /* of the migration */
	const struct space *space; /* the frozen processes; borrowed, must stay as long as the flow */
	unsigned streams;
	uint64_t bandwidth; /* as for sender_limit() */
	uint64_t since, back_at; /* of the last interruption */
	uint64_t lost_ns; /* all of them together */
	unsigned times;
};

/* One attempt. STATE_DRAINING: the target runs it, and what it lacks is on its way. STATE_DRAINED: the
 * connection waits for BYE. Else the flow is of no use. */
int resume_try(const struct resume *w, enum msg_state *ret, struct err *e);

/* At growing intervals, until the answer is one that stays, RESUME_MS have passed since the link was lost
 * or a signal comes. */
int resume_run(struct resume *w, struct signals *signals, enum msg_state *ret, struct err *e);

/* BYE, which the target answers: it forgets the migration. The journal says "drained". */
int resume_bye(struct flow *f, struct err *e);
