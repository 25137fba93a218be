/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "migrate/journal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a journal's entry means, for people. */
static const struct meaning {
	const char *role, *step, *alive, *dead, *gone; /* NULL: as dead */
} meanings[] = {
	{"source", "committed", "handed over: the other host gets the rest of its memory",
		"handed over: 'godwit recover' asks the other host; frozen here",
		"handed over: 'godwit recover' asks the other host; nothing of it is left here"},
	{"source", "drained", "the other host has everything", "the other host has everything: "
		"'godwit recover' deletes what is left here",
		"the other host has everything: 'godwit recover' tells it so"},
	{"source", "kept", "is whole in that directory, and ends here",
		"is whole in that directory: 'godwit recover' ends what is left here",
		"is whole in that directory"},
	{"source", "", "moves away", "interrupted before the hand-over: it belongs here",
		"interrupted before the hand-over, and gone: the host was rebooted, or it was deleted by hand"},
	{"target", "owner", "runs here, and lacks memory that is on the other host",
		"in doubt: it was handed over to this host, and its memory's keeper is gone: what is "
		"missing will not come", "in doubt: it was handed over to this host, and ended when that was "
		"rebooted"},
	{"target", "drained", "runs here", "runs here with all its memory; the other host has not said "
		"good-bye", "came here with all its memory, and ended when this host was rebooted"},
	{"target", "", "comes here", "interrupted before the hand-over: it belongs to the other host", NULL},
};

static const char *meaning(const struct journal_entry *j)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		const struct meaning *m = &meanings[i];

		if (strcmp(m->role, j->role) == 0 && (!*m->step || strcmp(m->step, j->step) == 0))
			return j->alive ? m->alive : j->gone && m->gone ? m->gone : m->dead;
	}
	return "not an entry of this version";
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
