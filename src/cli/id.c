/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "wire/identity.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_id(const char *host, const char *fingerprint, bool json)
{
	json_t *o;
	char *text;

	if (!json) {
		printf("godwit peer add %s %s %s\n", host, host, fingerprint);
		return;
	}
	o = json_pack("{s:s, s:s}", "host", host, "fingerprint", fingerprint);
	text = json_dumps(o, JSON_COMPACT);
	puts(text ? text : "{}");
	free(text);
	json_decref(o);
}

int cli_id(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct identity id = IDENTITY_INIT;
	char host[256] = "HOST", text[FINGERPRINT_TEXT];
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 1, "id [--json]", 0, 0, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0)
		r = identity_load(cli_config_dir(), &id, &e);
	if (r < 0)
		return cli_fail(&report, &e);
	gethostname(host, sizeof(host) - 1);
	fingerprint_format(id.fingerprint, text);
	print_id(host, text, json);
	identity_done(&id);
	return 0;
}
