/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/entrance.h"
#include "migrate/memory_in.h"

/*
 * The target, after the commit, when its source comes again: takes the new connections and says what is
 * lacking. The source's half: migrate/resume.h.
 */

struct comeback {
	struct channel control;
	unsigned streams;
};

/* Somebody is at the door: what he has opened becomes @ret, or nothing of it stays. */
int await_take(struct entrance *n, struct memory_in *m, struct comeback *ret, struct err *e);

/* LACKING, as often as it takes. */
int await_tell(struct channel *control, struct keeper *k, struct err *e);
