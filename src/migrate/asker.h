/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/keeper.h"
#include "wire/channel.h"

/* The urgent channel's end on the target: asks the source for the pages that the keeper wishes for, and
 * passes it the answers, ahead of everything else. Until @stop becomes readable: 0; else its error. */
int asker_serve(struct channel *c, int stop, struct keeper_line *l, int wishes, struct err *e);
