/* SPDX-License-Identifier: Apache-2.0 */
#include "base/child.h"
#include "base/count.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} verbs[] = {
	{"migrate", cli_migrate, "move a running container to another host"},
	{"agent", cli_agent, "wait for containers from other hosts"},
	{"serve", cli_serve, "the same for one, on standard input and output (ssh://HOST)"},
	{"check", cli_check, "can this host, or that one, take part?"},
	{"checkpoint", cli_checkpoint, "keep a container in a directory"},
	{"restore", cli_restore, "bring a container back from a directory"},
	{"cancel", cli_cancel, "end a migration that is not handed over yet"},
	{"recover", cli_recover, "settle what a migration that died has left"},
	{"status", cli_status, "migrations under way or in doubt"},
	{"id", cli_id, "this host's key, as other hosts add it"},
	{"peer", cli_peer, "hosts that this one trusts: add, remove, allow, deny, list"},
};

static void help(FILE *out)
{
	fputs("usage: godwit VERB [OPTIONS] ...\n\n", out);
	for (size_t i = 0; i < COUNT(verbs); i++)
		fprintf(out, "  %-12s %s\n", verbs[i].name, verbs[i].summary);
	fputs("\n'godwit VERB --help' shows a verb's usage; godwit(1) has it all.\n", out);
}

int main(int argc, char **argv)
{
	child_raise_files();
	if (argc < 2) {
		help(stderr);
		return 2;
	}
	for (size_t i = 0; i < COUNT(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	if (strcmp(argv[1], "--version") == 0) {
		puts("godwit " GODWIT_VERSION);
		return 0;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		help(stdout);
		return 0;
	}
	fprintf(stderr, "godwit: no verb \"%s\"\n", argv[1]);
	help(stderr);
	return 2;
}
