/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration has come to: the source's own moments, and what the target has told of its own. */
#include "migrate/source_impl.h"

#include "base/clock.h"
#include "base/text.h"

#include <unistd.h>

static const char *mode_name(enum msg_mode mode)
{
	static const char *const names[] = {
		[MODE_STOP] = "stop", [MODE_POST] = "post", [MODE_PRE] = "pre", [MODE_HYBRID] = "hybrid"};

	return names[mode];
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
		.mode = mode_name(s->o->mode),
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
		.has_result = s->has_result,
		.memory_bytes = PAGES_TO_BYTES(s->result.pages),
		.zero_bytes = PAGES_TO_BYTES(s->result.zero_pages),
		.faults = s->result.faults,
		.urgent = s->result.urgent,
		.fault_p50_us = (double)s->result.fault_p50_ns / 1000,
		.fault_p99_us = (double)s->result.fault_p99_ns / 1000,
		.store_peak = s->result.store_peak,
		.has_address = departure_has_address(out),
		.address = {
			.hold_ms = clock_diff_ms(out->hold_at, d->freeze_start),
			.silent_ms = clock_diff_ms(out->address_gone, s->running - s->target_announced_ns),
			.connections = out->sockets.connections,
			.held = out->held + s->result.packets_held,
			.delivered = s->result.packets_delivered + s->result.packets_held,
			.forwarded = out->forwarded,
			.late = out->late + s->result.packets_late,
			.overflowed = out->stats.overflow + s->result.packets_overflow,
		},
	};

	gethostname(host, sizeof(host) - 1);
	text_clean(host);
	summary_part(&sum, "freeze", clock_diff_ms(d->freeze_start, d->frozen_at));
	summary_part(&sum, "dump", clock_diff_ms(d->frozen_at, d->dumped_at));
	summary_part(&sum, "send", clock_diff_ms(s->images_at, s->images_sent));
	summary_part(&sum, "restore", clock_diff_ms(s->images_sent, s->restored) -
			(double)s->target_address_ns / NSEC_PER_MSEC);
	summary_part(&sum, "gate", clock_diff_ms(s->restored, s->running));
	summary_part(&sum, "address", address);
	report_summary(s->report, &sum);
}
