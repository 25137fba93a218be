/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* cmocka.h wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A temporary directory that a test removes again with scratch_remove(). */
static inline char *scratch_make(void)
{
	char *dir = strdup("/tmp/godwit-test-XXXXXX");

	assert_non_null(mkdtemp(dir));
	return dir;
}

static inline void scratch_remove(char *dir)
{
	dir_remove(dir);
	free(dir);
}

static inline void scratch_file(const char *dir, const char *name, const void *data, size_t len)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}
