/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * When to stop copying a running container's memory: a function of what the rounds so far have shown
 * and of nothing else.
 *
 * Copying goes on until sending the remainder would take next to nothing, or until rounds no longer
 * shrink: a shorter freeze is worth a further round. Then, in mode hybrid, the remainder may follow
 * after the container runs on the target, however large. In mode pre it adds to the freeze: if that
 * is more than the user allows, the container is slowed down step by step, if the user allows that,
 * or left alone.
 */

/* There are no more rounds than that. */
#define PLAN_ROUNDS_MAX 40

/* One round: what was sent, how long that took, and what had been written again by its end. */
struct plan_round {
	uint64_t bytes, ns, left;
	unsigned throttle; /* percent of that time in which the container was held */
};

struct plan_limits {
	uint64_t max_downtime_ns; /* that sending what is left may add to the freeze */
	uint64_t eager_bytes;	  /* to be sent frozen whatever is copied before */
	bool hybrid;		  /* what is left may follow when the container runs on the target */
	bool throttle;		  /* the container may be slowed down */
};

enum plan_step { PLAN_COPY, PLAN_FREEZE, PLAN_GIVE_UP };

struct plan {
	enum plan_step step;
	const char *reason;	 /* of PLAN_FREEZE and PLAN_GIVE_UP */
	double rate, dirty_rate; /* bytes a second: of the link, of the container's writing */
	double predicted_ms;	 /* for sending, frozen, what is left now */
	unsigned throttle;	 /* of PLAN_COPY: percent, for the next round */
};

/* @n rounds, the oldest first, at least one. */
struct plan plan_next(const struct plan_round *rounds, size_t n, const struct plan_limits *limits);
