/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "report/report.h"

/* "godwit check": can this host take part, its @container (NULL: none) move, and @target (a peer's
 * name or ssh://HOST, NULL: none) take part? The first "no" is the error. */
int probe_run(const char *config_dir, const char *container, const char *target, struct report *report, struct err *e);
