/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fuzz.h"

#include "base/file.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static char fuzz_path[] = "/tmp/godwit-fuzz-XXXXXX";

static void fuzz_remove_dir(void)
{
	dir_remove(fuzz_path);
}

/* A directory of this process, made once and removed at its end. */
static inline const char *fuzz_dir(void)
{
	static bool made;

	if (!made) {
		MUST(mkdtemp(fuzz_path));
		atexit(fuzz_remove_dir);
		made = true;
	}
	return fuzz_path;
}

/* That directory, with the input as the file @name in it. */
static inline const char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
	const char *dir = fuzz_dir();
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	MUST(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
	return dir;
}
