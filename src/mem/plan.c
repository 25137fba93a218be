/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/plan.h"

#define NSEC_PER_SECOND 1e9
/* A round whose remainder is not that much smaller than what it sent has gained nothing. */
#define GAIN 0.9
#define STALLED_ROUNDS 2
/* Below that a rate says more about a round's fixed costs than about the link. */
#define RATE_BYTES (1u << 20)
/* Sending the remainder takes no longer, a fraction of what CRIU's part of the freeze takes: no more
 * rounds. */
#define ENOUGH_MS 10.0
#define THROTTLE_STEP 20
#define THROTTLE_MAX 80

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

/* Of the rounds in which the container was held as much as in the last one. */
static bool is_stalled(const struct plan_round *rounds, size_t n)
{
	if (n < STALLED_ROUNDS)
		return false;
	for (size_t i = n - STALLED_ROUNDS; i < n; i++)
		if (rounds[i].throttle != rounds[n - 1].throttle ||
			(double)rounds[i].left < GAIN * (double)rounds[i].bytes)
			return false;
	return true;
}

static double time_to_send(uint64_t bytes, double rate)
{
	return rate > 0 ? (double)bytes * 1e3 / rate : 0;
}

static bool is_small(const struct plan_round *last, double rate)
{
	return time_to_send(last->left, rate) <= ENOUGH_MS;
}

/* NULL: a further round is worth it. */
static const char *reason_to_stop(const struct plan_round *rounds, size_t n, double rate)
{
	if (is_small(&rounds[n - 1], rate))
		return "the remainder is small";
	if (n >= PLAN_ROUNDS_MAX)
		return "the limit of rounds is reached";
	return is_stalled(rounds, n) ? "rounds no longer shrink" : NULL;
}

struct plan plan_next(const struct plan_round *rounds, size_t n, const struct plan_limits *limits)
{
	const struct plan_round *last = &rounds[n - 1];
	double rate = link_rate(rounds, n);
	bool small = is_small(last, rate);
	struct plan p = {
		.rate = rate,
		.dirty_rate = per_second(last->left, last->ns),
		.predicted_ms = time_to_send(
			limits->eager_bytes + (limits->hybrid ? 0 : last->left), rate),
		.throttle = last->throttle,
		.reason = reason_to_stop(rounds, n, rate),
	};

	if (!p.reason)
		return p;
	if (limits->hybrid || p.predicted_ms * 1e6 <= (double)limits->max_downtime_ns) {
		p.step = PLAN_FREEZE;
	} else if (limits->throttle && !small && n < PLAN_ROUNDS_MAX &&
		last->throttle < THROTTLE_MAX) {
		p.throttle += THROTTLE_STEP;
	} else {
		p.step = PLAN_GIVE_UP;
		if (small)
			p.reason = "what can only be sent frozen is too much";
	}
	return p;
}
