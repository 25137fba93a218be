/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

/* Ends the migration of @container that is under way on this host, as a signal would, and waits until it has
 * been undone. Once it is handed over, or if there is none: ERR_REFUSED. */
int cancel_migration(const char *container, struct err *e);
