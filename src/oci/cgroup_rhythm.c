/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cgroup_rhythm.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USAGE "usage_usec " /* the first line of cpu.stat */
#define LOOK_NS 400000u	    /* who pauses for so long rests */
#define LEARN_MS 200
#define TURN_MAX_MS 50 /* nobody may have to wait longer than that */
#define TURNS_MIN 4

/* What is seen of the turns. */
struct turns {
	uint64_t used, at;	     /* at the end of the last one, µs and when */
	uint64_t longest, work, n;   /* of all: ns, µs */
	uint64_t seen;		     /* µs, at the last look */
	bool working;
};

/* µs of processor time, or 0. */
static uint64_t usage(const struct cgroup_rhythm *r)
{
	char text[128];
	ssize_t n = pread(r->stat, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return strncmp(text, USAGE, strlen(USAGE)) == 0 ? strtoull(text + strlen(USAGE), NULL, 10) : 0;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
}

static void end_turn(struct turns *t, uint64_t now)
{
	if (t->at > 0) {
		uint64_t took = now - t->at;

		t->longest = took > t->longest ? took : t->longest;
		t->work += t->seen - t->used;
		t->n++;
	}
	t->used = t->seen;
	t->at = now;
}

static void look(struct turns *t, uint64_t used, uint64_t now)
{
	if (t->working && used == t->seen)
		end_turn(t, now);
	t->working = used != t->seen;
	t->seen = used;
}

static void *learn(void *arg)
{
	struct cgroup_rhythm *r = arg;
	struct turns t = {.seen = usage(r)};
	uint64_t end = deadline_in_ms(LEARN_MS);

	while (!atomic_load(&r->stop) && !deadline_passed(end)) {
		nap();
		look(&t, usage(r), clock_now());
	}
	if (t.n < TURNS_MIN || t.longest > TURN_MAX_MS * NSEC_PER_MSEC)
		return NULL;
	r->turn_ns = t.longest;
	r->work_us = t.work / t.n;
	return NULL;
}

void cgroup_rhythm_learn(struct cgroup_rhythm *r, const char *dir)
{
	char path[PATH_MAX];

	if (r->stat >= 0 || snprintf(path, sizeof(path), "%s/cpu.stat", dir) >= (int)sizeof(path))
		return;
	r->stat = open(path, O_RDONLY | O_CLOEXEC);
	atomic_store(&r->stop, false);
	r->learning = r->stat >= 0 && pthread_create(&r->thread, NULL, learn, r) == 0;
}

static void end_learning(struct cgroup_rhythm *r)
{
	if (!r->learning)
		return;
	atomic_store(&r->stop, true);
	pthread_join(r->thread, NULL);
	r->learning = false;
}

/* Half of a usual turn's work tells the turn from what other threads do meanwhile. */
void cgroup_rhythm_await(struct cgroup_rhythm *r)
{
	uint64_t start, last, now, end;

	end_learning(r);
	if (r->turn_ns == 0)
		return;
	end = clock_now() + r->turn_ns + r->turn_ns / 4;
	start = now = usage(r);
	do {
		nap();
		last = now;
		now = usage(r);
	} while ((now != last || now - start < r->work_us / 2) && clock_now() < end);
}

void cgroup_rhythm_done(struct cgroup_rhythm *r)
{
	end_learning(r);
	fd_close(&r->stat);
	r->turn_ns = 0;
}
