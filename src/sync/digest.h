/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdint.h>

#define DIGEST_LEN 32

/*
 * SHA-256 over a directory tree: of every entry, in byte order of its path, the path, type, mode,
 * owner, size, device number, link target and contents, each with its length before it. Times are
 * left out: two copies of a root file system may differ in them. Stays on one file system and
 * follows no links.
 */
int digest_tree(const char *root, uint8_t ret[static DIGEST_LEN], struct err *e);
