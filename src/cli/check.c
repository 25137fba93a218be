/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/probe.h"

int cli_check(int argc, char **argv)
{
	const char *container = NULL;
	bool json = false;
	const struct cli_option options[] = {
		{"container", NULL, &container},
		{"json", &json, NULL},
	};
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int n, r, code;

	n = cli_parse(argc, argv, options, 2, "check [--container NAME] [--json] [TARGET]", 0, 1, &words, &code);
	if (n < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0) {
		cli_end_by_signals();
		r = probe_run(cli_config_dir(), container, n == 1 ? words[0] : NULL, &report, &e);
	}
	return r < 0 ? cli_fail(&report, &e) : 0;
}
