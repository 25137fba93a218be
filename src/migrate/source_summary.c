/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration has come to: the source's own moments, and what the target has told of its own. */
#include "migrate/source_impl.h"

#include "base/clock.h"
#include "base/text.h"

#include <unistd.h>

const struct msg_drained *source_result(const struct source *s)
{
	return s->result.type == MSG_DRAINED ? &s->result.body.drained : NULL;
}

static void summarize_result(struct summary *sum, const struct msg_drained *m)
{
	const struct msg_count *times = m->fault_times.v;

	sum->has_result = true;
	sum->memory_bytes = PAGES_TO_BYTES(m->pages);
	sum->zero_bytes = PAGES_TO_BYTES(m->zero_pages);
	sum->faults = m->faults;
	sum->urgent = m->urgent;
	sum->fault_p50_us = (double)m->fault_p50_ns / 1000;
	sum->fault_p99_us = (double)m->fault_p99_ns / 1000;
	sum->store_peak = m->store_peak;
	for (size_t i = 0; i < m->fault_times.n && i < SUMMARY_TIMES_MAX; i++)
		sum->fault_times[sum->n_fault_times++] = times[i].n;
	sum->address.held += m->packets_held;
	sum->address.delivered = m->packets_delivered + m->packets_held;
	sum->address.late += m->packets_late;
	sum->address.overflowed += m->packets_overflow;
}

void source_summarize(struct source *s)
{
	char host[256] = "?";
	const struct dump *d = &s->dump;
	const struct departure *out = &s->departure;
	double address = clock_diff_ms(out->address_at, out->address_gone) +
		(double)s->target_address_ns / NSEC_PER_MSEC;
	struct summary sum = {
		.container = s->facts.c.id,
		.from = host,
		.to = s->o->target,
		.mode = msg_mode_name(s->o->mode),
		.rounds = s->copier.rounds,
		.predicted_ms = s->plan.predicted_ms,
		.copy_ms = clock_diff_ms(s->copy_start, s->copy_end),
		.ok = true,
		.frozen_at = clock_wall_of(d->freeze_start),
		.running_at = clock_wall_of(s->running),
		.total_ms = clock_diff_ms(s->started, clock_now()),
		.freeze_ms = clock_diff_ms(d->freeze_start, s->running),
		.drain_ms = clock_diff_ms(s->running, s->drained),
		.lost_ms = (double)s->resume.lost_ns / NSEC_PER_MSEC,
		.interruptions = s->resume.times,
		.bytes = s->wire_bytes,
		.has_address = departure_has_address(out),
		.address = {
			.hold_ms = clock_diff_ms(out->hold_at, d->freeze_start),
			.silent_ms = clock_diff_ms(out->address_gone, s->running - s->target_announced_ns),
			.connections = out->sockets.connections,
			.held = out->held,
			.forwarded = out->forwarded,
			.late = out->late,
			.overflowed = out->stats.overflow,
		},
	};

	gethostname(host, sizeof(host) - 1);
	text_clean(host);
	if (source_result(s))
		summarize_result(&sum, source_result(s));
	summary_part(&sum, "freeze", clock_diff_ms(d->freeze_start, d->frozen_at));
	summary_part(&sum, "dump", clock_diff_ms(d->frozen_at, d->dumped_at));
	summary_part(&sum, "send", clock_diff_ms(s->images_at, s->images_sent));
	summary_part(&sum, "restore", clock_diff_ms(s->images_sent, s->restored) -
			(double)s->target_address_ns / NSEC_PER_MSEC);
	summary_part(&sum, "gate", clock_diff_ms(s->restored, s->running));
	summary_part(&sum, "address", address);
	report_summary(s->report, &sum);
}
