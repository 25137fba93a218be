/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include "cli/cli.h"
#include "cli/settings.h"

int cli_agent(int argc, char **argv)
{
	struct agent_options o = {.config_dir = cli_config_dir()};
	const struct cli_option options[] = {{"listen", NULL, &o.listen}};
	struct err e = ERR_INIT;
	struct settings settings;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 1, "agent [--listen ADDRESS]", 0, 0, &words, &code) < 0)
		return code;
	report_init(&report, stdout, false);
	r = cli_need_root(&e);
	if (r == 0)
		r = settings_load(cli_config_dir(), &settings, &e);
	if (r == 0) {
		if (!o.listen)
			o.listen = settings.listen;
		o.quota = settings.quota;
		cli_block_signals();
		r = agent_run(&o, &e);
	}
	return r < 0 ? cli_fail(&report, &e) : 0;
}
