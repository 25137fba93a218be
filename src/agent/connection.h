/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "wire/identity.h"

/*
 * Deals with one connection from its first byte to its end, in a process of its own; returns that
 * process's exit code. Takes over @fd. @agent is where struct guest_request goes.
 */
int connection_handle(int fd, const struct identity *self, const char *config_dir, int agent);
