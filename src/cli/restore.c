/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/local.h"

int cli_restore(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 1, "restore DIR [--json]", 1, 1, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0) {
		cli_block_signals();
		r = restore_run(words[0], &report, &e);
	}
	return r < 0 ? cli_fail(&report, &e) : 0;
}
