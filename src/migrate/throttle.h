/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

struct throttle;

/*
 * Slows a container down that writes faster than the link moves: its cgroup is frozen for a part of
 * every 20 ms.
 *
 * And not by cpu.max: that needs the cpu controller for the container's cgroup, has another owner
 * (the user, runc), and would stay behind if godwit were killed. A frozen cgroup is what the guard
 * thaws anyway.
 */

/* Holds the container @percent (1 to 99) of the time from now on. @cgroup is copied. */
int throttle_new(const char *cgroup, unsigned percent, struct throttle **ret, struct err *e);

/* Lets the container run freely. NULL is fine. */
void throttle_free(struct throttle *t);
