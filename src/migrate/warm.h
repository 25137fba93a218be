/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/wait.h"
#include "wire/channel.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * A connection that has been silent is slow at first: TCP sends some ten segments and twice as many after
 * each round trip (RFC 6928; after a pause once more, RFC 5681, 4.1). Images would take that
 * within the freeze. So the window is opened while the container runs, by what nobody needs.
 */

/* Over such a link a round trip takes longer than what else there is in a freeze. False if that can't be told. */
bool warm_is_long(const struct channel *c);

/* What is known of a connection's window. */
struct warmth {
	uint32_t most; /* segments: more than that the link, or the peer, didn't let it have; 0: not known */
};

/* Until @bytes can be under way at once, as far as the link lets them; two seconds at most. Does nothing where
 * that takes no time, and over what is no TCP connection of ours. */
int warm_up(struct channel *c, uint64_t bytes, struct warmth *known, struct waiter *w, struct err *e);
