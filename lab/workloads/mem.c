/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem SIZE_MB [RATE_MB_PER_S [sequential|random|hot]]: holds memory, writes to it at a rate, and
 * verifies every page by content, for ever. /run/status says "ok N" with N verified passes, or
 * "WRONG ..." at the first wrong byte.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define SLICE_NS 10000000 /* work is done in slices of 10 ms */

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void status(const char *text, unsigned long a, unsigned long b)
{
	FILE *f = fopen("/run/status.new", "w");

	if (!f)
		exit(3);
	fprintf(f, "%s %lu %lu\n", text, a, b);
	fclose(f);
	rename("/run/status.new", "/run/status");
}

/* A page's content follows from its number and how often it was written. */
static void fill(uint64_t *page, uint64_t number, uint64_t version)
{
	uint64_t x = number * 0x9e3779b97f4a7c15u ^ version;

	page[0] = version;
	for (size_t i = 1; i < WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = i % 4 ? x : 0; /* compressible by a quarter */
	}
}

static void verify(const uint64_t *page, uint64_t number, uint64_t version)
{
	uint64_t want[WORDS];

	fill(want, number, version);
	if (memcmp(want, page, PAGE) == 0)
		return;
	status("WRONG page", number, page[0]);
	exit(1);
}

int main(int argc, char **argv)
{
	size_t pages = (argc > 1 ? strtoul(argv[1], NULL, 10) : 64) << 8, check = 0, write_at = 0;
	double rate = argc > 2 ? atof(argv[2]) : 0;
	const char *pattern = argc > 3 ? argv[3] : "sequential";
	size_t span = strcmp(pattern, "hot") == 0 ? pages / 10 + 1 : pages;
	uint32_t *versions = calloc(pages, sizeof(*versions));
	uint64_t *mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long passes = 0, slices = 0;
	double owed = 0;

	if (mem == MAP_FAILED || !versions)
		return 2;
	for (size_t i = 0; i < pages; i++)
		fill(mem + i * WORDS, i, 0);
	for (uint64_t next = now();; next += SLICE_NS) {
		struct timespec nap = {.tv_nsec = SLICE_NS};

		for (owed += rate * 256 / 100; owed >= 1; owed--) {
			size_t n = (pattern[0] == 's' ? write_at++ : (size_t)random()) % span;

			fill(mem + n * WORDS, n, ++versions[n]);
		}
		for (size_t i = 0; i < 256; i++) {
			verify(mem + check * WORDS, check, versions[check]);
			if (++check == pages) {
				check = 0;
				passes++;
			}
		}
		if (slices++ % 10 == 0)
			status("ok", passes, slices);
		if (now() < next + SLICE_NS)
			nanosleep(&nap, NULL);
		else
			next = now();
	}
}
