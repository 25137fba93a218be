/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rounds.h"

#include "base/clock.h"
#include "base/fault.h"
#include "migrate/throttle.h"

#include <errno.h>

#define PROGRESS_MS 100

/* Until all that is queued has been sent. */
static int wait_sent(const struct rounds *r, struct err *e)
{
	for (;;) {
		int n = waiter_wait(r->waiter, sender_idle_fd(r->sender),
			deadline_in_ms(PROGRESS_MS), e);

		r->show(r->ctx);
		copier_join(r->copier);
		if (n != -ETIMEDOUT || err_is_set(e))
			return n;
	}
}

static int give_up(const struct plan *p, struct err *e)
{
	char link[32], writing[32];

	err_set(e, ERR_REFUSED, ETIME,
		"%s: the container writes %s/s, the link moves %s/s, %.0f ms frozen are predicted",
		p->reason, human_bytes((uint64_t)p->dirty_rate, writing),
		human_bytes((uint64_t)p->rate, link), p->predicted_ms);
	return err_remedy(e, "use mode hybrid, allow more by --max-downtime, or --throttle");
}

/* Sends what is known to be written, with the container slowed down as planned, and looks what has
 * been written meanwhile. */
static int one_round(const struct rounds *r, struct plan_round *round, struct err *e)
{
	struct throttle *throttle = NULL;
	uint64_t start = clock_now();
	int n = 0;

	if (round->throttle > 0)
		n = throttle_new(r->copier->cgroup, round->throttle, &throttle, e);
	if (n == 0)
		n = copier_send(r->copier, e);
	if (n == 0)
		n = r->ready(r->ctx, e);
	if (n == 0)
		n = wait_sent(r, e);
	round->ns = clock_now() - start;
	/* Looking may freeze the container, too: nobody else may thaw it then. */
	throttle_free(throttle);
	if (n == 0)
		n = FAULT(source_looked, e);
	return n < 0 ? n : copier_look(r->copier, &round->left, e);
}

static void tell_round(const struct rounds *r, size_t number, const struct plan_round *round)
{
	report_round(r->report, &(struct report_round){
		.number = (unsigned)number,
		.bytes = round->bytes,
		.ms = (double)round->ns / NSEC_PER_MSEC,
		.left = round->left,
		.throttle = round->throttle,
	});
}

int rounds_run(const struct rounds *r, struct plan *ret_plan, struct err *e)
{
	struct plan_round rounds[PLAN_ROUNDS_MAX];
	struct plan p = {.step = PLAN_COPY};
	uint64_t left;
	int n = copier_look(r->copier, &left, e);

	for (size_t i = 0; n == 0 && p.step == PLAN_COPY; i++) {
		rounds[i] = (struct plan_round){.bytes = left, .throttle = p.throttle};
		n = one_round(r, &rounds[i], e);
		if (n < 0)
			return n;
		left = rounds[i].left;
		p = plan_next(rounds, i + 1, &r->limits);
		tell_round(r, i + 1, &rounds[i]);
	}
	*ret_plan = p;
	return n == 0 && p.step == PLAN_GIVE_UP ? give_up(&p, e) : n;
}
