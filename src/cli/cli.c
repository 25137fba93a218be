/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 16
#define EXIT_USAGE 2
#define EXIT_CANCELLED 130 /* as err_exit_code() has it */

static void fill_long_options(const struct cli_option *options, size_t n, struct option *ret)
{
	size_t i;

	for (i = 0; i < n; i++)
		ret[i] = (struct option){.name = options[i].name,
			.has_arg = options[i].value ? required_argument : no_argument};
	ret[i++] = (struct option){.name = "help", .val = 'h'};
	ret[i] = (struct option){0};
}

int cli_parse(int argc, char **argv, const struct cli_option *options, size_t n, const char *usage,
	int min, int max, char ***ret_words, int *ret_exit)
{
	struct option longs[OPTIONS_MAX + 2];
	int c, index, words;

	fill_long_options(options, n, longs);
	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longs, &index)) != -1) {
		if (c == 'h') {
			printf("usage: godwit %s\nSee godwit(1) and the pages that it names.\n", usage);
			*ret_exit = 0;
			return -1;
		}
		if (c != 0)
			goto usage;
		if (options[index].value)
			*options[index].value = optarg;
		else
			*options[index].flag = true;
	}
	words = argc - optind;
	*ret_words = argv + optind;
	if (words >= min && words <= max)
		return words;
usage:
	fprintf(stderr, "usage: godwit %s\n", usage);
	*ret_exit = EXIT_USAGE;
	return -1;
}

const char *cli_config_dir(void)
{
	const char *dir = getenv("GODWIT_CONFIG_DIR");

	return dir && *dir ? dir : "/etc/godwit";
}

int cli_fail(struct report *r, const struct err *e)
{
	report_error(r, e);
	return err_exit_code(e);
}

int cli_need_root(struct err *e)
{
	if (geteuid() == 0)
		return 0;
	err_set(e, ERR_LOCAL, EPERM, "needs root: it reads and restores other users' processes");
	return err_remedy(e, "run it with sudo");
}

void cli_block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static pid_t command;

static void end_at_once(int signal)
{
	static const char text[] = "godwit: interrupted\n";

	(void)signal;
	/* Processes that we have forked have this function, too. */
	if (getpid() == command && write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(EXIT_CANCELLED);
}

void cli_end_by_signals(void)
{
	command = getpid();
	signal(SIGINT, end_at_once);
	signal(SIGTERM, end_at_once);
	signal(SIGHUP, end_at_once);
	signal(SIGPIPE, SIG_IGN);
}
