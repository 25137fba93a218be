/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/source.h"

#include "cli/cli.h"

#include <stdio.h>

static const char usage[] =
	"migrate [--mode hybrid|pre|post|stop] [--max-downtime MS] [--streams N] "
	"[--tracker write-protect|soft-dirty] [--dry-run] [--json] CONTAINER TARGET";

int cli_migrate(int argc, char **argv)
{
	struct source_options o = {.config_dir = cli_config_dir()};
	const char *mode = NULL, *streams = NULL, *downtime = NULL, *tracker = NULL;
	bool json = false;
	const struct cli_option options[] = {
		{"mode", NULL, &mode},
		{"streams", NULL, &streams},
		{"max-downtime", NULL, &downtime},
		{"tracker", NULL, &tracker},
		{"dry-run", &o.dry_run, NULL},
		{"json", &json, NULL},
	};
	struct err e = ERR_INIT;
	struct settings settings;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 6, usage, 2, 2, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_settings(&settings, &e);
	if (r == 0 && mode)
		r = cli_parse_mode(mode, &settings.mode, &e);
	if (r == 0 && streams)
		r = cli_parse_streams(streams, &settings.streams, &e);
	if (r == 0 && downtime)
		r = cli_parse_downtime(downtime, &settings.max_downtime_ms, &e);
	if (r == 0 && tracker)
		r = cli_parse_tracker(tracker, settings.tracker, &e);
	if (r == 0)
		r = cli_need_root(&e);
	if (r == 0) {
		o.container = words[0];
		o.target = words[1];
		o.mode = settings.mode;
		o.tracker = settings.tracker[0] ? settings.tracker : NULL;
		o.streams = settings.streams;
		o.max_downtime_ms = settings.max_downtime_ms;
		cli_block_signals();
		r = source_run(&o, &report, &e);
	}
	return r < 0 ? cli_fail(&report, &e) : 0;
}
