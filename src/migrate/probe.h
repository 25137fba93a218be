/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "report/report.h"

/* "godwit check": can this host take part, and @target (a peer's name or ssh://HOST, NULL: none),
 * as far as can be seen without a container? The first "no" is the error. */
int probe_run(const char *config_dir, const char *target, struct report *report, struct err *e);
