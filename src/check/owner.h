/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

/*
 * Nobody but root could have put @path where it is: it and all directories above it belong to root and
 * are writable by nobody else, but for directories like /tmp in which nobody can replace what is
 * another's. A peer names the bundle that it wants to be restored from; one that a user of this host
 * has made must not do. ERR_REFUSED with a remedy.
 */
int path_check_owner(const char *path, struct err *e);

/* The same for the directory in which @path lies. */
int path_check_parent(const char *path, struct err *e);
