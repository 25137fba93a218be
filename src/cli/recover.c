/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/recover.h"
#include "oci/runc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Settles one entry; 1 when it stays in doubt. */
static int settle(const struct journal_entry *j, struct report *report, struct err *e)
{
	char text[CONTAINER_ID_MAX + 600];
	enum recovery how;
	int r = recover_entry(j, cli_config_dir(), &how, e);

	if (r < 0)
		return err_wrap(e, "%s", j->container);
	if (how == RECOVERY_HERE)
		snprintf(text, sizeof(text), "%s runs here again", j->container);
	else if (how == RECOVERY_CLEARED)
		snprintf(text, sizeof(text), "%s: what was half restored is gone; it belongs to %s",
			j->container, j->peer);
	else
		snprintf(text, sizeof(text), "%s is in doubt: see whether it runs on %s; journal %s",
			j->container, j->peer, j->path);
	report_note(report, text);
	return how == RECOVERY_DOUBT;
}

static int settle_all(struct report *report, struct err *e)
{
	struct journal_entry *v;
	size_t n, doubts = 0, open = 0;
	int r = journal_list(&v, &n, e);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (v[i].alive)
			continue;
		open++;
		r = settle(&v[i], report, e);
		doubts += r == 1;
	}
	free(v);
	if (r >= 0 && open == 0)
		report_note(report, "nothing is to be recovered");
	if (r < 0 || doubts == 0)
		return r < 0 ? r : 0;
	err_set(e, ERR_REFUSED, EAGAIN, "%zu in doubt: one host alone can not tell", doubts);
	return err_remedy(e, "when 'godwit status' there shows nothing of it any more: if 'runc list' "
			     "there has it, 'runc delete --force' it here; if not, 'runc resume' it here "
			     "and give it its address back; then remove the journal's file");
}

int cli_recover(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 1, "recover [--json]", 0, 0, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0)
		r = settle_all(&report, &e);
	return r < 0 ? cli_fail(&report, &e) : 0;
}
