/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent/quota.h"
#include "base/err.h"
#include "wire/msg.h"

#include <stdbool.h>

/* What godwit.conf says, and what options on the command line say instead: the same names, the same
 * values. */

struct settings {
	enum msg_mode mode;
	unsigned streams, max_downtime_ms;
	unsigned bandwidth_mbit; /* 0: no limit */
	bool throttle;
	char tracker[32]; /* a backend's name; "": the first that works */
	char listen[280]; /* "" : any address, the default port */
	struct quota quota;
};

/* The file godwit.conf in @dir; defaults where it says nothing, or where there is none. */
int settings_load(const char *dir, struct settings *ret, struct err *e);

/* One setting, by its section and name. */
int settings_set(struct settings *s, const char *section, const char *name, const char *value,
	struct err *e);
