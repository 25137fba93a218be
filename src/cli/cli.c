/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "mem/tracker.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 16
#define EXIT_USAGE 2

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

int cli_parse_mode(const char *text, enum msg_mode *ret, struct err *e)
{
	if (strcmp(text, "stop") == 0)
		*ret = MODE_STOP;
	else if (strcmp(text, "post") == 0)
		*ret = MODE_POST;
	else if (strcmp(text, "pre") == 0)
		*ret = MODE_PRE;
	else if (strcmp(text, "hybrid") == 0)
		*ret = MODE_HYBRID;
	else
		return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no mode: hybrid, pre, post or stop",
			text);
	return 0;
}

static bool parse_number(const char *text, unsigned long min, unsigned long max, unsigned *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n < min || n > max)
		return false;
	*ret = (unsigned)n;
	return true;
}

int cli_parse_streams(const char *text, unsigned *ret, struct err *e)
{
	if (parse_number(text, 1, 16, ret))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no number of streams: 1 to 16", text);
}

int cli_parse_downtime(const char *text, unsigned *ret, struct err *e)
{
	if (parse_number(text, 0, 600000, ret))
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no downtime: milliseconds up to 600000",
		text);
}

int cli_parse_tracker(const char *text, char ret[static 32], struct err *e)
{
	if (tracker_exists(text)) {
		snprintf(ret, 32, "%s", text);
		return 0;
	}
	return err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no tracker: write-protect or soft-dirty",
		text);
}

struct settings_file {
	struct settings *s;
	struct err *e;
};

/* inih's callback: 1 is well, 0 an error. */
static int on_setting(void *ctx, const char *section, const char *name, const char *value)
{
	struct settings_file *f = ctx;

	if (strcmp(section, "migrate") == 0 && strcmp(name, "mode") == 0)
		return cli_parse_mode(value, &f->s->mode, f->e) == 0;
	if (strcmp(section, "migrate") == 0 && strcmp(name, "streams") == 0)
		return cli_parse_streams(value, &f->s->streams, f->e) == 0;
	if (strcmp(section, "migrate") == 0 && strcmp(name, "max-downtime") == 0)
		return cli_parse_downtime(value, &f->s->max_downtime_ms, f->e) == 0;
	if (strcmp(section, "migrate") == 0 && strcmp(name, "tracker") == 0)
		return cli_parse_tracker(value, f->s->tracker, f->e) == 0;
	if (strcmp(section, "agent") == 0 && strcmp(name, "listen") == 0 &&
		strlen(value) < sizeof(f->s->listen)) {
		snprintf(f->s->listen, sizeof(f->s->listen), "%s", value);
		return 1;
	}
	err_set(f->e, ERR_USAGE, EINVAL, "unknown setting \"%s\" in section [%s]", name, section);
	return 0;
}

int cli_settings(struct settings *ret, struct err *e)
{
	struct settings_file f = {ret, e};
	char path[4096];
	int r;

	*ret = (struct settings){.mode = MODE_HYBRID, .streams = 2, .max_downtime_ms = 200};
	snprintf(path, sizeof(path), "%s/godwit.conf", cli_config_dir());
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = ini_parse(path, on_setting, &f);
	if (r == 0)
		return 0;
	if (!err_is_set(e))
		err_set(e, ERR_USAGE, EINVAL, "not an INI file");
	err_wrap(e, "%s, line %d", path, r);
	return err_remedy(e, "see godwit.conf(5)");
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
