/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"
#include "cli/cli.h"

int cli_serve(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, NULL, 0, "serve", 0, 0, &words, &code) < 0)
		return code;
	/* Standard output belongs to the protocol. */
	report_init(&report, stderr, false);
	cli_block_signals();
	r = cli_need_root(&e);
	if (r == 0)
		r = agent_serve_stdio(&e);
	return r < 0 ? cli_fail(&report, &e) : 0;
}
