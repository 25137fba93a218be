/* SPDX-License-Identifier: Apache-2.0 */
#include "base/warm.h"

#include <sys/mman.h>

void memory_warm(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		-1, 0);

	if (p != MAP_FAILED)
		munmap(p, bytes);
}
