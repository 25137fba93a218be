/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/local.h"

#include <errno.h>

static const char usage[] = "checkpoint CONTAINER --to DIR [--leave-running] [--json]";

int cli_checkpoint(int argc, char **argv)
{
	struct checkpoint_options o = {0};
	bool json = false;
	const struct cli_option options[] = {
		{"to", NULL, &o.dir},
		{"leave-running", &o.leave_running, NULL},
		{"json", &json, NULL},
	};
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 3, usage, 1, 1, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = o.dir ? cli_need_root(&e) : err_set(&e, ERR_USAGE, EINVAL, "usage: godwit %s", usage);
	if (r == 0) {
		o.container = words[0];
		cli_block_signals();
		r = checkpoint_run(&o, &report, &e);
	}
	return r < 0 ? cli_fail(&report, &e) : 0;
}
