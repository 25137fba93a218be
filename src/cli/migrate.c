/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/source.h"

#include "cli/cli.h"
#include "cli/settings.h"

#include <stdio.h>

#define MBIT (1000000 / 8)

static const char usage[] =
	"migrate [--mode hybrid|pre|post|stop] [--max-downtime MS] [--bandwidth MBIT] [--throttle] "
	"[--streams N] [--tracker write-protect|soft-dirty] [--dry-run] [--json] CONTAINER TARGET";

/* Options that godwit.conf has, too: the first of the table below. */
#define SETTINGS 5

static int load_settings(const struct cli_option *given, bool throttle, struct settings *s,
	struct err *e)
{
	int r = settings_load(cli_config_dir(), s, e);

	for (size_t i = 0; i < SETTINGS && r == 0; i++)
		if (*given[i].value)
			r = settings_set(s, "migrate", given[i].name, *given[i].value, e);
	s->throttle |= throttle;
	return r;
}

static int run(char **words, const struct settings *s, bool dry_run, struct report *report,
	struct err *e)
{
	const struct source_options o = {
		.config_dir = cli_config_dir(),
		.container = words[0],
		.target = words[1],
		.mode = s->mode,
		.tracker = s->tracker[0] ? s->tracker : NULL,
		.streams = s->streams,
		.max_downtime_ms = s->max_downtime_ms,
		.bandwidth = (uint64_t)s->bandwidth_mbit * MBIT,
		.throttle = s->throttle,
		.dry_run = dry_run,
	};

	cli_block_signals();
	return source_run(&o, report, e);
}

int cli_migrate(int argc, char **argv)
{
	const char *mode = NULL, *streams = NULL, *downtime = NULL, *bandwidth = NULL, *tracker = NULL;
	bool json = false, dry_run = false, throttle = false;
	const struct cli_option options[] = {
		{"mode", NULL, &mode},
		{"streams", NULL, &streams},
		{"max-downtime", NULL, &downtime},
		{"bandwidth", NULL, &bandwidth},
		{"tracker", NULL, &tracker},
		{"throttle", &throttle, NULL},
		{"dry-run", &dry_run, NULL},
		{"json", &json, NULL},
	};
	struct err e = ERR_INIT;
	struct settings settings;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), usage, 2, 2, &words,
		    &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = load_settings(options, throttle, &settings, &e);
	if (r == 0)
		r = cli_need_root(&e);
	if (r == 0)
		r = run(words, &settings, dry_run, &report, &e);
	return r < 0 ? cli_fail(&report, &e) : 0;
}
