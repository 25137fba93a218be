/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * A migration is a table of stages, walked in order. When one fails, what it and those before it
 * did is undone in the opposite order, so every undo must bear a stage that was half done or never
 * began its work.
 */

struct stage {
	const char *name;
	int (*run)(void *ctx, struct err *e); /* 1: it all ends here, and well */
	void (*undo)(void *ctx); /* NULL: leaves nothing to undo */
};

/* May what has been done still be undone? Asked after a failure; false beyond the commit. */
typedef bool stages_revocable_fn(const void *ctx);

/* 0, or the first failure, whose error gets the stage's name before it. */
int stages_walk(const struct stage *stages, size_t n, void *ctx, stages_revocable_fn *revocable,
	struct err *e);
