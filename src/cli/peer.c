/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "cli/cli.h"
#include "wire/identity.h"
#include "wire/peers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"peer add NAME ADDRESS FINGERPRINT | peer remove NAME | peer allow NAME PATTERN... | "
	"peer deny NAME | peer list [--json]";

#define WORDS_MAX 64

static void list_json(const struct peers *p)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < p->n; i++) {
		char f[FINGERPRINT_TEXT];

		fingerprint_format(p->v[i].fingerprint, f);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:s}", "name",
						    p->v[i].name, "address", p->v[i].address,
						    "fingerprint", f, "accept", p->v[i].accept,
						    "containers", p->v[i].containers));
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
		printf("%-20s %-30s %s  %s%s\n", p->v[i].name, p->v[i].address, f,
			p->v[i].accept ? "may send: " : "may send nothing",
			p->v[i].accept ? p->v[i].containers : "");
	}
}

static int allow(struct peers *p, const char *name, char **patterns, int n, struct err *e)
{
	_cleanup_buf_ struct buf all;

	buf_init(&all, PEER_CONTAINERS_MAX + 2);
	for (int i = 0; i < n; i++)
		buf_printf(&all, "%s%s", i ? " " : "", patterns[i]);
	buf_put_u8(&all, 0);
	if (buf_check(&all) < 0)
		return err_set(e, ERR_USAGE, E2BIG, "patterns of more than %d characters",
			PEER_CONTAINERS_MAX);
	return peers_allow(p, name, (const char *)all.data, e);
}

static int change(struct peers *p, char **words, int n, struct err *e)
{
	int r;

	if (n == 4 && strcmp(words[0], "add") == 0)
		r = peers_add(p, words[1], words[2], words[3], e);
	else if (n == 2 && strcmp(words[0], "remove") == 0)
		r = peers_remove(p, words[1], e);
	else if (n >= 3 && strcmp(words[0], "allow") == 0)
		r = allow(p, words[1], words + 2, n - 2, e);
	else if (n == 2 && strcmp(words[0], "deny") == 0)
		r = peers_allow(p, words[1], NULL, e);
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

	n = cli_parse(argc, argv, options, 1, usage, 1, WORDS_MAX, &words, &code);
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
