/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "agent/quota.h"
#include "base/err.h"

/*
 * The agent listens for sources and gives each connection a process of its own, so that no peer
 * can disturb another's migration. A connection that begins a migration becomes its target side;
 * a further one is passed to the process that it belongs to.
 */

struct agent_options {
	const char *config_dir; /* identity and peers */
	const char *listen;	/* "HOST:PORT", "[IPV6]:PORT", "HOST" or "PORT"; NULL: any:7342 */
	struct quota quota;
};

/* Returns after SIGTERM or SIGINT; migrations that have begun go on without it. The caller has one
 * thread. */
int agent_run(const struct agent_options *o, struct err *e);

/* The same for one connection, on standard input and output, which ssh protects. */
int agent_serve_stdio(struct err *e);
