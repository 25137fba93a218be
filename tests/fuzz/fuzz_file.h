/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fuzz.h"

#include "base/file.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static char fuzz_dir[] = "/tmp/godwit-fuzz-XXXXXX";

static void fuzz_remove_dir(void)
{
	dir_remove(fuzz_dir);
}

/* A directory of this process, made once, with the input as the file @name in it. */
static inline const char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
	static bool made;
	char path[128];
	FILE *f;

	if (!made) {
		MUST(mkdtemp(fuzz_dir));
		atexit(fuzz_remove_dir);
		made = true;
	}
	snprintf(path, sizeof(path), "%s/%s", fuzz_dir, name);
	f = fopen(path, "w");
	MUST(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
	return fuzz_dir;
}
