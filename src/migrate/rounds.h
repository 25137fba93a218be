/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/plan.h"
#include "mem/sender.h"
#include "migrate/copier.h"
#include "migrate/wait.h"
#include "report/report.h"

/* Copies a running container's memory round by round until the plan says stop. */

struct rounds {
	struct copier *copier;
	struct sender *sender;
	struct waiter *waiter;
	struct report *report;
	struct plan_limits limits;
	void (*show)(void *ctx); /* called now and then: progress */
	/* called as each round goes over: it may be the last one */
	int (*ready)(void *ctx, struct err *e);
	void *ctx;
};

/* 0 when it is time to freeze; ERR_REFUSED when copying leads nowhere. *ret_plan, unless
 * something fails, is the plan's last word. */
int rounds_run(const struct rounds *r, struct plan *ret_plan, struct err *e);
