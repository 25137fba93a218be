/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/keeper.h"
#include "wire/channel.h"

/* The urgent channel's end on the target: a thread that asks the source for the pages that the keeper
 * wishes for, and passes it the answers, ahead of everything else. */

struct asker;

/* Takes over @c, also on failure. @k must outlive it. */
int asker_start(struct channel *c, struct keeper *k, struct asker **ret, struct err *e);

/* Readable when it has failed. */
int asker_event_fd(const struct asker *a);
int asker_result(struct asker *a, struct err *e);

/* Stops the thread, closes the channel, frees. NULL is fine. */
void asker_free(struct asker *a);
