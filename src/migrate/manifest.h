/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "check/check.h"
#include "sync/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a checkpoint's directory says of itself: manifest.json. */

#define MANIFEST_VERSION 1
#define MANIFEST_NAME "manifest.json"

struct manifest {
	char container[CONTAINER_ID_MAX + 1];
	char bundle[4096];
	char *config_text; /* owned: config.json */
	size_t config_len;
	uint8_t rootfs_digest[DIGEST_LEN], images_digest[DIGEST_LEN];
	char arch[64], criu_version[64];
	char cpu_features[8192];
	uint64_t memory_bytes;
	bool file_locks;
	struct listener listeners[LISTENERS_MAX];
	size_t n_listeners;
};

#define MANIFEST_INIT ((struct manifest){0})

/* Writes @dir/manifest.json, on disk when it returns. */
int manifest_write(const char *dir, const struct manifest *m, struct err *e);

/* Reads and validates it; *ret ends with manifest_done(), also on failure. */
int manifest_read(const char *dir, struct manifest *ret, struct err *e);

void manifest_done(struct manifest *m);
