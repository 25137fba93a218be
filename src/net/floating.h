/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "net/address.h"

#include <stdbool.h>

/*
 * A container's floating address during a move: what has been changed on this host, so that it can
 * be put back. A container without one has an empty one, with which everything here does nothing.
 */

enum floating_change { FLOATING_AS_BEFORE, FLOATING_TAKEN, FLOATING_RELEASED };

struct floating {
	struct address address;
	bool is_set;
	enum floating_change change;
	int announcer; /* owned */
};

#define FLOATING_INIT ((struct floating){.announcer = -1})

/* @annotation: the container's, NULL when it has none. */
int floating_init(struct floating *f, const char *annotation, struct err *e);

/* This host has the address from now on, but does not announce it yet. */
int floating_take(struct floating *f, struct err *e);
/* This host no longer has it. */
int floating_release(struct floating *f, struct err *e);

/* Tells the segment that it is here, once; false when it isn't any more: it may have moved on. */
bool floating_announce(struct floating *f);

/* As before the change; announced, if that means that it is here again. */
void floating_revoke(struct floating *f);

void floating_done(struct floating *f);
