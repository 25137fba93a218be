/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* A limit on bytes a second, as a function of time alone: whoever sends says how much, and is told
 * when to go on. */
struct rate {
	uint64_t bytes_per_second; /* 0: no limit */
	uint64_t free_at;	   /* what was counted so far has had its time by then */
};

/* Counts @bytes sent at @now (clock_now()); returns when to send next, at most @now + as long as
 * all that was counted and not yet had its time takes. An unused limit saves up nothing. */
uint64_t rate_count(struct rate *r, uint64_t bytes, uint64_t now);
