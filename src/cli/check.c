/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/probe.h"

int cli_check(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int n, r, code;

	n = cli_parse(argc, argv, options, 1, "check [--json] [TARGET]", 0, 1, &words, &code);
	if (n < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0) {
		cli_block_signals();
		r = probe_run(cli_config_dir(), n == 1 ? words[0] : NULL, &report, &e);
	}
	return r < 0 ? cli_fail(&report, &e) : 0;
}
