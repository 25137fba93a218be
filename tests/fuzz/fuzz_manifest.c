/* SPDX-License-Identifier: Apache-2.0 */
/* A file on disk that somebody has edited. */
#include "fuzz.h"

#include "base/err.h"
#include "base/file.h"
#include "migrate/manifest.h"

#include <stdio.h>
#include <unistd.h>

static char dir[] = "/tmp/godwit-fuzz-XXXXXX";

static void remove_dir(void)
{
	dir_remove(dir);
}

/* A directory of this process, made once, with the input as the file @name in it. */
static void put_file(const char *name, const uint8_t *data, size_t size)
{
	static bool made;
	char path[128];
	FILE *f;

	if (!made) {
		MUST(mkdtemp(dir));
		atexit(remove_dir);
		made = true;
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	MUST(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct manifest m;
	struct err e = ERR_INIT;

	put_file(MANIFEST_NAME, data, size);
	if (manifest_read(dir, &m, &e) < 0)
		MUST(err_is_set(&e));
	manifest_done(&m);
	return 0;
}
