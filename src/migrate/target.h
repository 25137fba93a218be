/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "migrate/guest.h"
#include "wire/identity.h"
#include "wire/transport.h"

/*
 * The target side of a migration. Takes over @t, the control connection of a peer that has
 * authenticated itself. @self: for further TLS connections; NULL when @t is plain. @guest: whose
 * connection it is. The caller has one thread; SIGTERM and SIGINT are blocked.
 *
 * Returns when all is over; what happened is written to stderr, a line an event.
 */
int target_run(struct transport *t, const struct identity *self, const struct guest *guest,
	struct err *e);
