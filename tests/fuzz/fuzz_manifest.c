/* SPDX-License-Identifier: Apache-2.0 */
/* A file on disk that somebody has edited. */
#include "fuzz_file.h"

#include "base/err.h"
#include "migrate/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *dir = fuzz_file(MANIFEST_NAME, data, size);
	static struct manifest m;
	struct err e = ERR_INIT;

	if (manifest_read(dir, &m, &e) < 0)
		MUST(err_is_set(&e));
	manifest_done(&m);
	return 0;
}
