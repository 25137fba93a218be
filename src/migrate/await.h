/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/pager.h"
#include "migrate/bulk.h"
#include "migrate/entrance.h"

/*
 * The target, after the commit, when its source comes again: takes the new connections and says what is
 * lacking. The source's half: migrate/resume.h.
 */

struct comeback {
	struct channel control, urgent;
	struct receiver *receivers[SENDER_STREAMS_MAX];
	unsigned streams;
};

/* Somebody is at the door: what he has opened becomes @ret, or nothing of it stays. */
int await_take(struct entrance *n, struct pager *p, struct comeback *ret, struct err *e);

/* LACKING, as often as it takes. */
int await_tell(struct channel *control, struct pager *p, struct err *e);
