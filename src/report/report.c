/* SPDX-License-Identifier: Apache-2.0 */
#include "report/report.h"

#include "base/clock.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAW_INTERVAL_NS (100 * NSEC_PER_MSEC)
#define STALLED_NS (5 * NSEC_PER_SEC)
#define BAR_WIDTH 30

void report_init(struct report *r, FILE *out, bool json)
{
	*r = (struct report){.out = out};
	if (json)
		r->format = REPORT_JSON;
	else
		r->format = isatty(fileno(out)) ? REPORT_TERMINAL : REPORT_PLAIN;
}

const char *human_bytes(uint64_t bytes, char ret[static 32])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	double v = (double)bytes;
	size_t i = 0;

	while (v >= 1000 && i + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1000;
		i++;
	}
	snprintf(ret, 32, i == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[i]);
	return ret;
}

/* Every event says when it was, in seconds since 1970. */
static void emit_json(struct report *r, json_t *object)
{
	char *text;

	json_object_set_new(object, "time", json_real((double)clock_wall() / NSEC_PER_SEC));
	text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(16));

	if (text)
		fprintf(r->out, "%s\n", text);
	fflush(r->out);
	free(text);
	json_decref(object);
}

static void end_line(struct report *r)
{
	if (r->drawn)
		fputs("\r\033[K", r->out);
	r->drawn = false;
}

void report_check(struct report *r, const char *name, enum report_level level, const char *reason,
	const char *remedy)
{
	static const char *const names[] = {"ok", "warn", "no"};

	if (r->format == REPORT_SILENT)
		return;
	if (r->format == REPORT_JSON) {
		emit_json(r, json_pack("{s:s, s:s, s:s, s:s, s:s}", "event", "check", "name", name,
				     "level", names[level], "reason", reason, "remedy", remedy));
		return;
	}
	end_line(r);
	fprintf(r->out, "  %-4s  %-22s %s\n", names[level], name, reason);
	if (remedy && *remedy)
		fprintf(r->out, "        %-22s -> %s\n", "", remedy);
	fflush(r->out);
}

void report_phase(struct report *r, const char *phase, const char *text)
{
	snprintf(r->phase, sizeof(r->phase), "%s", phase);
	r->phase_start = r->last_move = clock_now();
	r->last_done = 0;
	if (r->format == REPORT_SILENT)
		return;
	if (r->format == REPORT_JSON) {
		emit_json(r, json_pack("{s:s, s:s}", "event", "phase", "phase", phase));
		return;
	}
	end_line(r);
	fprintf(r->out, "%-8s %s\n", phase, text);
	fflush(r->out);
}

static void draw_progress(struct report *r, uint64_t now, uint64_t done, uint64_t total)
{
	double seconds = clock_diff_ms(r->phase_start, now) / 1000;
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char a[32], b[32], c[32];

	fprintf(r->out, "\r\033[K%-8s %s of %s, %s/s", r->phase, human_bytes(done, a),
		human_bytes(total, b), human_bytes((uint64_t)rate, c));
	if (now - r->last_move > STALLED_NS)
		fputs(", stalled", r->out);
	else if (rate > 0 && total > done)
		fprintf(r->out, ", %.0f s left", (double)(total - done) / rate);
	r->drawn = true;
	fflush(r->out);
}

void report_progress(struct report *r, uint64_t done, uint64_t total)
{
	uint64_t now = clock_now();

	if (done != r->last_done)
		r->last_move = now;
	r->last_done = done;
	if (now - r->last_draw < DRAW_INTERVAL_NS)
		return;
	r->last_draw = now;
	if (r->format == REPORT_JSON)
		emit_json(r, json_pack("{s:s, s:s, s:I, s:I}", "event", "progress", "phase", r->phase,
				     "done", (json_int_t)done, "total", (json_int_t)total));
	else if (r->format == REPORT_TERMINAL)
		draw_progress(r, now, done, total);
}

void report_round(struct report *r, const struct report_round *round)
{
	char a[32], b[32], text[128];

	if (r->format == REPORT_JSON) {
		emit_json(r, json_pack("{s:s, s:i, s:I, s:f, s:I, s:i}", "event", "round", "round",
				     (int)round->number, "bytes", (json_int_t)round->bytes, "ms",
				     round->ms, "left", (json_int_t)round->left, "throttle",
				     (int)round->throttle));
		return;
	}
	snprintf(text, sizeof(text), "round %u: %s in %.0f ms, %s written meanwhile%s", round->number,
		human_bytes(round->bytes, a), round->ms, human_bytes(round->left, b),
		round->throttle ? ", slowed down" : "");
	report_note(r, text);
}

void report_note(struct report *r, const char *text)
{
	if (r->format == REPORT_SILENT)
		return;
	if (r->format == REPORT_JSON) {
		emit_json(r, json_pack("{s:s, s:s}", "event", "note", "text", text));
		return;
	}
	end_line(r);
	fprintf(r->out, "         %s\n", text);
	fflush(r->out);
}

void report_error(struct report *r, const struct err *e)
{
	if (r->format == REPORT_JSON) {
		emit_json(r, json_pack("{s:s, s:s, s:i, s:s, s:s}", "event", "error", "class",
				     err_class_name(e->class), "code", e->code, "text", e->text,
				     "remedy", e->remedy));
		return;
	}
	end_line(r);
	fflush(r->out);
	fprintf(stderr, "godwit: %s\n", e->text);
	if (e->remedy[0])
		fprintf(stderr, "        %s\n", e->remedy);
}

void summary_part(struct summary *s, const char *name, double ms)
{
	if (s->n_parts == SUMMARY_PARTS_MAX)
		return;
	snprintf(s->parts[s->n_parts].name, sizeof(s->parts[0].name), "%s", name);
	s->parts[s->n_parts++].ms = ms;
}

static json_t *address_json(const struct summary_address *a, bool has_result)
{
	json_t *o = json_pack("{s:f, s:f, s:i, s:I, s:I, s:I, s:I}", "hold_ms", a->hold_ms, "silent_ms",
		a->silent_ms, "connections", (int)a->connections, "held", (json_int_t)a->held, "forwarded",
		(json_int_t)a->forwarded, "late", (json_int_t)a->late, "overflowed", (json_int_t)a->overflowed);

	if (has_result)
		json_object_set_new(o, "delivered", json_integer((json_int_t)a->delivered));
	return o;
}

static json_t *result_json(const struct summary *s)
{
	json_t *times = json_array();

	for (size_t i = 0; i < s->n_fault_times; i++)
		json_array_append_new(times, json_integer(s->fault_times[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:I}", "memory_bytes", (json_int_t)s->memory_bytes,
		"zero_bytes", (json_int_t)s->zero_bytes, "faults", (json_int_t)s->faults, "urgent",
		(json_int_t)s->urgent, "fault_p50_us", s->fault_p50_us, "fault_p99_us", s->fault_p99_us,
		"fault_times", times, "store_peak", (json_int_t)s->store_peak);
}

static void summary_json(struct report *r, const struct summary *s)
{
	json_t *parts = json_array(), *result, *o;

	for (size_t i = 0; i < s->n_parts; i++)
		json_array_append_new(parts,
			json_pack("{s:s, s:f}", "name", s->parts[i].name, "ms", s->parts[i].ms));
	o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:f, s:f, s:f, s:i, s:f, s:f, s:f, s:o, s:f, s:I, s:i, s:f}",
		"event", "report", "container", s->container, "from", s->from, "to", s->to, "mode", s->mode, "ok",
		s->ok, "frozen_at", s->frozen_at, "running_at", s->running_at, "total_ms", s->total_ms, "rounds",
		(int)s->rounds, "predicted_ms", s->predicted_ms, "copy_ms", s->copy_ms, "freeze_ms", s->freeze_ms,
		"freeze_parts", parts, "drain_ms", s->drain_ms, "bytes", (json_int_t)s->bytes, "interruptions",
		(int)s->interruptions, "lost_ms", s->lost_ms);
	if (s->has_result) {
		result = result_json(s);
		json_object_update(o, result);
		json_decref(result);
	}
	if (s->has_address)
		json_object_set_new(o, "address", address_json(&s->address, s->has_result));
	emit_json(r, o);
}

static void draw_bar(FILE *out, double share)
{
	int n = (int)(share * BAR_WIDTH + 0.5);

	for (int i = 0; i < n; i++)
		fputc('#', out);
	fputc('\n', out);
}

static void address_text(FILE *out, const struct summary_address *a, bool has_result)
{
	fprintf(out, "  address  %8.1f ms   nobody answered for it; %llu packets held", a->silent_ms,
		(unsigned long long)a->held);
	if (has_result)
		fprintf(out, ", %llu delivered", (unsigned long long)a->delivered);
	fprintf(out, ", %llu forwarded", (unsigned long long)a->forwarded);
	if (a->late > 0)
		fprintf(out, ", %llu late (others may have overtaken them)", (unsigned long long)a->late);
	if (a->overflowed > 0)
		fprintf(out, ", %llu lost for want of room", (unsigned long long)a->overflowed);
	if (a->connections > 0)
		fprintf(out, "; %u TCP connections carried", a->connections);
	fputc('\n', out);
}

void report_summary(struct report *r, const struct summary *s)
{
	char a[32], b[32], c[32];

	if (r->format == REPORT_SILENT)
		return;
	if (r->format == REPORT_JSON) {
		summary_json(r, s);
		return;
	}
	end_line(r);
	fprintf(r->out, "\n%s runs on %s (from %s, mode %s)\n", s->container, s->to, s->from,
		s->mode);
	if (s->rounds > 0)
		fprintf(r->out, "  copy     %8.1f ms   %u rounds while it ran\n", s->copy_ms, s->rounds);
	fprintf(r->out, "  frozen   %8.1f ms\n", s->freeze_ms);
	for (size_t i = 0; i < s->n_parts; i++) {
		fprintf(r->out, "    %-15s %6.1f ms  ", s->parts[i].name, s->parts[i].ms);
		draw_bar(r->out, s->freeze_ms > 0 ? s->parts[i].ms / s->freeze_ms : 0);
	}
	if (s->has_address)
		address_text(r->out, &s->address, s->has_result);
	fprintf(r->out, "  drain    %8.1f ms", s->drain_ms);
	if (s->has_result)
		fprintf(r->out, "   %llu faults, %llu of them waited for a page", (unsigned long long)s->faults,
			(unsigned long long)s->urgent);
	if (s->has_result && s->faults > 0)
		fprintf(r->out, " (median %.0f us, p99 %.0f us)", s->fault_p50_us, s->fault_p99_us);
	if (s->interruptions > 0)
		fprintf(r->out, "\n  pause    %8.1f ms   the link was lost %u time%s", s->lost_ms,
			s->interruptions, s->interruptions == 1 ? "" : "s");
	fprintf(r->out, "\n  total    %8.1f ms   %s sent", s->total_ms, human_bytes(s->bytes, a));
	if (s->has_result)
		fprintf(r->out, " for %s of memory, %s of it zero", human_bytes(s->memory_bytes, b),
			human_bytes(s->zero_bytes, c));
	fputc('\n', r->out);
	fflush(r->out);
}
