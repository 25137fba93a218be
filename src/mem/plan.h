/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * When to stop copying a running container's memory: a function of what the rounds so far have shown
 * and of nothing else.
 */

/* One round: what was sent, how long that took, and what had been written again by its end. */
struct plan_round {
	uint64_t bytes, ns, left;
};

struct plan_limits {
	uint64_t enough_ns;	  /* sending the remainder takes no longer: no more rounds */
	uint64_t max_downtime_ns; /* that it may add to the freeze at all */
	unsigned max_rounds;
	bool hybrid; /* it adds nothing: it may follow after the container runs on the target */
};

enum plan_step { PLAN_COPY, PLAN_FREEZE, PLAN_GIVE_UP };

struct plan {
	enum plan_step step;
	const char *reason;	/* of PLAN_FREEZE and PLAN_GIVE_UP */
	double rate, dirty_rate; /* bytes a second: of the link, of the container's writing */
	double predicted_ms;	/* for sending what is left now */
};

/* @n rounds, the oldest first, at least one. */
struct plan plan_next(const struct plan_round *rounds, size_t n, const struct plan_limits *limits);
