/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "wire/identity.h"
#include "wire/peers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"peer add NAME ADDRESS FINGERPRINT | peer remove NAME | peer list [--json]";

static void list_json(const struct peers *p)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < p->n; i++) {
		char f[FINGERPRINT_TEXT];

		fingerprint_format(p->v[i].fingerprint, f);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", p->v[i].name,
						    "address", p->v[i].address, "fingerprint", f));
	}
	text = json_dumps(list, JSON_COMPACT);
	puts(text ? text : "[]");
	free(text);
	json_decref(list);
}

static void list(const struct peers *p)
{
	for (size_t i = 0; i < p->n; i++) {
		char f[FINGERPRINT_TEXT];

		fingerprint_format(p->v[i].fingerprint, f);
		printf("%-20s %-30s %s\n", p->v[i].name, p->v[i].address, f);
	}
}

static int change(struct peers *p, char **words, int n, struct err *e)
{
	int r;

	if (n == 4 && strcmp(words[0], "add") == 0)
		r = peers_add(p, words[1], words[2], words[3], e);
	else if (n == 2 && strcmp(words[0], "remove") == 0)
		r = peers_remove(p, words[1], e);
	else
		r = err_set(e, ERR_USAGE, EINVAL, "usage: godwit %s", usage);
	return r < 0 ? r : peers_save(cli_config_dir(), p, e);
}

int cli_peer(int argc, char **argv)
{
	bool json = false;
	const struct cli_option options[] = {{"json", &json, NULL}};
	struct peers peers = PEERS_INIT;
	struct err e = ERR_INIT;
	struct report report;
	char **words;
	int n, r, code;

	n = cli_parse(argc, argv, options, 1, usage, 1, 4, &words, &code);
	if (n < 0)
		return code;
	report_init(&report, stdout, json);
	r = cli_need_root(&e);
	if (r == 0)
		r = peers_load(cli_config_dir(), &peers, &e);
	if (r == 0 && n == 1 && strcmp(words[0], "list") == 0)
		(json ? list_json : list)(&peers);
	else if (r == 0)
		r = change(&peers, words, n, &e);
	peers_done(&peers);
	return r < 0 ? cli_fail(&report, &e) : 0;
}
