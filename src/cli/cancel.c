/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/cancel.h"

#include <stdio.h>

int cli_cancel(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct err e = ERR_INIT;
	struct report report;
	char text[512], **words;
	int r, code;

	if (cli_parse(argc, argv, options, 1, "cancel [--json] CONTAINER", 1, 1, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0)
		r = cancel_migration(words[0], &e);
	if (r < 0)
		return cli_fail(&report, &e);
	snprintf(text, sizeof(text), "the migration of %s is cancelled", words[0]);
	report_note(&report, text);
	return 0;
}
