/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem [-t MB] [-b FROM/TO/PORT] SIZE_MB [RATE_MB_PER_S [sequential|random|hot]]: holds memory,
 * writes to it at a rate, and verifies every page by content, for ever. /run/status says "ok N"
 * with N verified passes, or "WRONG ..." at the first wrong byte.
 *
 * -t: 60 turns a second instead of 1000, each of which first reads from each page of a working set
 * of so many MB, as a game server does. -b: a datagram a turn, see beat.h.
 */
#include "beat.h"
#include "status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define TURN_NS 1000000
#define FRAME_NS 16666667
#define STATUS_NS 100000000
#define CHECKS_PER_S 25600

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
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
	status("WRONG page %lu %lu", number, page[0]);
	exit(1);
}

struct mem {
	uint64_t *pages;
	uint32_t *versions;
	size_t n, span, touched; /* pages: all, those that are written, those read in each turn */
	bool sequential;
	double rate; /* pages written a second */
	size_t write_at, check_at;
	double owed_writes, owed_checks;
	unsigned long passes;
};

static void write_some(struct mem *m, double seconds)
{
	for (m->owed_writes += m->rate * seconds; m->owed_writes >= 1; m->owed_writes--) {
		size_t n = (m->sequential ? m->write_at++ : (size_t)random()) % m->span;

		fill(m->pages + n * WORDS, n, ++m->versions[n]);
	}
}

static void verify_some(struct mem *m, double seconds)
{
	for (m->owed_checks += CHECKS_PER_S * seconds; m->owed_checks >= 1; m->owed_checks--) {
		verify(m->pages + m->check_at * WORDS, m->check_at, m->versions[m->check_at]);
		if (++m->check_at == m->n) {
			m->check_at = 0;
			m->passes++;
		}
	}
}

/* The working set, scattered over all of the memory. */
static void touch(const struct mem *m)
{
	for (size_t i = 0; i < m->touched; i++)
		(void)*(volatile uint64_t *)(m->pages + i * (m->n / m->touched) * WORDS);
}

/* Turns at a fixed rate; those that couldn't take place are left out. */
static void run(struct mem *m, struct beat *beat, uint64_t turn_ns)
{
	uint64_t next = now(), shown = 0;

	for (unsigned long turns = 0;; turns++) {
		double seconds = (double)turn_ns / 1e9;
		uint64_t t;

		touch(m);
		write_some(m, seconds);
		verify_some(m, seconds);
		if (beat)
			beat_send(beat);
		t = now();
		if (t - shown > STATUS_NS) {
			status("ok %lu %lu", m->passes, turns);
			shown = t;
		}
		next += turn_ns;
		if (t < next && next - t <= turn_ns)
			nanosleep(&(struct timespec){.tv_nsec = (long)(next - t)}, NULL);
		else
			next = t;
	}
}

static void init(struct mem *m, size_t mb, double mb_per_s, const char *pattern, size_t touch_mb)
{
	m->n = mb << 8;
	m->rate = mb_per_s * 256;
	m->touched = touch_mb << 8;
	m->sequential = strcmp(pattern, "sequential") == 0;
	m->span = strcmp(pattern, "hot") == 0 ? m->n / 10 + 1 : m->n;
	m->versions = calloc(m->n, sizeof(*m->versions));
	m->pages = mmap(NULL, m->n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);
	if (m->pages == MAP_FAILED || !m->versions || m->touched > m->n)
		exit(2);
	for (size_t i = 0; i < m->n; i++)
		fill(m->pages + i * WORDS, i, 0);
}

int main(int argc, char **argv)
{
	struct mem m = {0};
	struct beat beat, *b = NULL;
	size_t touch_mb = 0;
	int c;

	while ((c = getopt(argc, argv, "t:b:")) != -1) {
		if (c == 't')
			touch_mb = strtoul(optarg, NULL, 10);
		else if (c == 'b' && beat_open(&beat, optarg) == 0)
			b = &beat;
		else
			return 2;
	}
	argc -= optind;
	argv += optind;
	init(&m, argc > 0 ? strtoul(argv[0], NULL, 10) : 64, argc > 1 ? atof(argv[1]) : 0,
		argc > 2 ? argv[2] : "sequential", touch_mb);
	run(&m, b, touch_mb ? FRAME_NS : TURN_NS);
}
