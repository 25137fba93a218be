/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * What a user or a script sees of a command: checks, phases, progress, the final report.
 *
 * Terminal: one line redrawn while something moves. Plain (no terminal): a line a phase. JSON: an
 * object a line, see godwit-migrate(1). One thread only. Text from outside is printable by the
 * time it comes here (errors and messages see to that).
 */

enum report_format { REPORT_TERMINAL, REPORT_PLAIN, REPORT_JSON, REPORT_SILENT };

enum report_level { REPORT_OK, REPORT_WARN, REPORT_NO };

struct report {
	enum report_format format;
	FILE *out; /* borrowed */
	char phase[32];
	uint64_t phase_start, last_draw, last_done, last_move;
	bool drawn; /* a progress line stands on the terminal */
};

/* REPORT_JSON if @json, else by what @out is. */
void report_init(struct report *r, FILE *out, bool json);

void report_check(struct report *r, const char *name, enum report_level level, const char *reason,
	const char *remedy);
/* A new phase; @text says what happens in it. */
void report_phase(struct report *r, const char *phase, const char *text);
/* Bytes; at most ten a second are shown. */
void report_progress(struct report *r, uint64_t done, uint64_t total);

/* A round of the copy. */
struct report_round {
	unsigned number;
	uint64_t bytes;	  /* sent in it */
	double ms;
	uint64_t left;	  /* written meanwhile */
	unsigned throttle; /* percent of the time in which the container was held */
};
void report_round(struct report *r, const struct report_round *round);

void report_note(struct report *r, const char *text);
/* An error ends whatever was going on. */
void report_error(struct report *r, const struct err *e);

#define SUMMARY_PARTS_MAX 24
#define SUMMARY_TIMES_MAX 64

/* How a floating address was handed over. */
struct summary_address {
	double hold_ms;	  /* for packets, before the freeze */
	double silent_ms; /* in which nobody answered for it */
	unsigned connections; /* of TCP, carried */
	uint64_t held, delivered, forwarded, late, overflowed; /* packets */
};

struct summary {
	const char *container, *from, *to, *mode;
	bool ok;
	double frozen_at, running_at; /* seconds since 1970 */
	double total_ms, copy_ms, freeze_ms, drain_ms;
	unsigned rounds; /* of the copy, while it ran */
	unsigned interruptions; /* of the link, in the drain, and how long it was lost */
	double lost_ms;
	double predicted_ms; /* by the copy: for what had to be sent frozen */
	struct {
		char name[32];
		double ms;
	} parts[SUMMARY_PARTS_MAX]; /* of the freeze, in order */
	size_t n_parts;
	uint64_t bytes; /* on the wire, from the source */
	bool has_result; /* the target has told what follows, and what it has delivered */
	uint64_t memory_bytes; /* that lazily restored pages hold */
	uint64_t zero_bytes, faults, urgent, store_peak;
	double fault_p50_us, fault_p99_us;
	uint32_t fault_times[SUMMARY_TIMES_MAX]; /* faults within 1 ms from when it could run, then within 2, 4, ... */
	size_t n_fault_times;
	bool has_address;
	struct summary_address address;
};

void summary_part(struct summary *s, const char *name, double ms);
void report_summary(struct report *r, const struct summary *s);

/* "94.2 MB" of bytes, decimal. */
const char *human_bytes(uint64_t bytes, char ret[static 32]);
