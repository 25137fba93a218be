/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/journal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a journal's entry means, for people. */
static const char *meaning(const struct journal_entry *j)
{
	bool source = strcmp(j->role, "source") == 0;

	if (j->alive)
		return source ? "moves away" : "comes here";
	if (source && strcmp(j->step, "committed") == 0)
		return "in doubt: it may run on the other host; frozen here";
	if (source)
		return "interrupted before the hand-over: it belongs here";
	if (strcmp(j->step, "owner") == 0)
		return "in doubt: it was handed over to this host";
	return "interrupted before the hand-over: it belongs to the other host";
}

static void list_json(const struct journal_entry *v, size_t n)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "id", v[i].id, "container",
				v[i].container, "peer", v[i].peer, "role", v[i].role, "step",
				v[i].step, "alive", v[i].alive, "meaning", meaning(&v[i])));
	text = json_dumps(list, JSON_COMPACT);
	puts(text ? text : "[]");
	free(text);
	json_decref(list);
}

static void list(const struct journal_entry *v, size_t n)
{
	if (n == 0)
		puts("no migration is under way or in doubt");
	for (size_t i = 0; i < n; i++)
		printf("%-20s %-7s %-16s %-10s %s\n", v[i].container, v[i].role, v[i].peer,
			v[i].step, meaning(&v[i]));
}

int cli_status(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct journal_entry *v = NULL;
	struct err e = ERR_INIT;
	struct report report;
	size_t n = 0;
	char **words;
	int r, code;

	if (cli_parse(argc, argv, options, 1, "status [--json]", 0, 0, &words, &code) < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0)
		r = journal_list(&v, &n, &e);
	if (r == 0)
		(json ? list_json : list)(v, n);
	free(v);
	return r < 0 ? cli_fail(&report, &e) : 0;
}
