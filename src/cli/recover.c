/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/recover.h"
#include "oci/runc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void tell(const struct journal_entry *j, enum recovery how, const char *why,
	struct report *report)
{
	static const char *const what[] = {
		[RECOVERY_HERE] = "runs here again",
		[RECOVERY_CLEARED] = "nothing of it is left here; it belongs to",
		[RECOVERY_OTHER] = "what runs here under its name somebody else has started: left alone; it belongs to",
		[RECOVERY_GONE] = "is gone, before it belonged to",
		[RECOVERY_RUNS] = "runs here with all its memory; no good-bye has come from",
		[RECOVERY_BUSY] = "a process is at it, with",
		[RECOVERY_DOUBT] = "is in doubt",
	};
	const char *gone = how == RECOVERY_CLEARED || how == RECOVERY_GONE ? journal_gone_text(j->gone) : "";
	char text[CONTAINER_ID_MAX + ERR_TEXT_MAX + 600];

	if (how == RECOVERY_HERE)
		snprintf(text, sizeof(text), "%s %s", j->container, what[how]);
	else if (how == RECOVERY_DOUBT)
		snprintf(text, sizeof(text), "%s %s: %s; journal %s", j->container, what[how], why,
			j->path);
	else
		snprintf(text, sizeof(text), "%s: %s %s%s%s", j->container, what[how], j->peer, *gone ? ": " : "",
			gone);
	report_note(report, text);
}

/* Settles one entry; 1 when it stays in doubt. */
static int settle(struct journal_entry *j, struct report *report, struct err *e)
{
	const struct recovery_means means = {.config_dir = cli_config_dir(), .report = report};
	enum recovery how;
	int r = recover_entry(j, &means, &how, e);

	if (r < 0)
		return err_wrap(e, "%s", j->container);
	tell(j, how, e->text, report);
	*e = ERR_INIT;
	return how == RECOVERY_DOUBT;
}

/* One that fails keeps no other from being settled: the first error is *e in the end, others are told at
 * once. Returns how many are in doubt. */
static size_t settle_each(struct journal_entry *v, size_t n, struct report *report, struct err *e)
{
	size_t doubts = 0;

	for (size_t i = 0; i < n; i++) {
		struct err why = ERR_INIT;
		int r = settle(&v[i], report, &why);

		doubts += r == 1;
		if (r < 0 && err_is_set(e))
			report_note(report, why.text);
		else if (r < 0)
			*e = why;
	}
	return doubts;
}

static int settle_all(struct report *report, struct err *e)
{
	struct journal_entry *v;
	size_t n, doubts = 0;
	int r = journal_list(&v, &n, e);

	if (r == 0)
		doubts = settle_each(v, n, report, e);
	free(v);
	if (r == 0 && n == 0)
		report_note(report, "nothing is to be recovered");
	if (err_is_set(e) || doubts == 0)
		return err_is_set(e) ? -e->code : r;
	err_set(e, ERR_REFUSED, EAGAIN, "%zu in doubt", doubts);
	return err_remedy(e, "run 'godwit recover' again when the other host can be reached. If it is gone for "
			     "good, and only then: 'runc resume' the container here and give it its address "
			     "back, or 'runc delete --force' it; and remove the journal's file");
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
	signal(SIGPIPE, SIG_IGN);
	r = cli_need_root(&e);
	if (r == 0)
		r = settle_all(&report, &e);
	return r < 0 ? cli_fail(&report, &e) : 0;
}
