/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/plan.h"

#define NSEC_PER_SECOND 1e9
/* A round whose remainder is not that much smaller than what it sent has gained nothing. */
#define GAIN 0.9
#define STALLED_ROUNDS 2
/* Below that a rate says more about a round's fixed costs than about the link. */
#define RATE_BYTES (1u << 20)

static double per_second(uint64_t bytes, uint64_t ns)
{
	return (double)bytes * NSEC_PER_SECOND / (double)(ns ? ns : 1);
}

/* Of the last round that sent enough to tell; the first one always counts. */
static double link_rate(const struct plan_round *rounds, size_t n)
{
	while (n > 1 && rounds[n - 1].bytes < RATE_BYTES)
		n--;
	return per_second(rounds[n - 1].bytes, rounds[n - 1].ns);
}

static bool is_stalled(const struct plan_round *rounds, size_t n)
{
	if (n < STALLED_ROUNDS)
		return false;
	for (size_t i = n - STALLED_ROUNDS; i < n; i++)
		if ((double)rounds[i].left < GAIN * (double)rounds[i].bytes)
			return false;
	return true;
}

struct plan plan_next(const struct plan_round *rounds, size_t n, const struct plan_limits *limits)
{
	const struct plan_round *last = &rounds[n - 1];
	struct plan p = {.rate = link_rate(rounds, n), .dirty_rate = per_second(last->left, last->ns)};

	p.predicted_ms = last->left ? (double)last->left * 1e3 / (p.rate > 0 ? p.rate : 1) : 0;
	if (p.predicted_ms * 1e6 <= (double)limits->enough_ns) {
		p.step = PLAN_FREEZE;
		p.reason = "the remainder is small";
		return p;
	}
	if (is_stalled(rounds, n))
		p.reason = "rounds no longer shrink";
	else if (n >= limits->max_rounds)
		p.reason = "the limit of rounds is reached";
	else
		return p;
	p.step = limits->hybrid || p.predicted_ms * 1e6 <= (double)limits->max_downtime_ns
		? PLAN_FREEZE
		: PLAN_GIVE_UP;
	return p;
}
