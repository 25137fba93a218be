/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "report/report.h"

#include <stdbool.h>
#include <stddef.h>

/* One function a verb; argv[0] is the verb. They return the process's exit code. */
int cli_agent(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_checkpoint(int argc, char **argv);
int cli_id(int argc, char **argv);
int cli_migrate(int argc, char **argv);
int cli_peer(int argc, char **argv);
int cli_cancel(int argc, char **argv);
int cli_recover(int argc, char **argv);
int cli_restore(int argc, char **argv);
int cli_serve(int argc, char **argv);
int cli_status(int argc, char **argv);

/* What the options of a verb look like, for cli_parse(). */
struct cli_option {
	const char *name; /* long, without the dashes */
	bool *flag;	  /* set when given, or: */
	const char **value;
};

/*
 * Takes the options out of a verb's arguments; what is left must be @min to @max words, which
 * *ret_words points to. @usage is one line. Returns how many words, or a negative number after
 * having said what is wrong, or having helped: then *ret_exit is the exit code.
 */
int cli_parse(int argc, char **argv, const struct cli_option *options, size_t n, const char *usage,
	int min, int max, char ***ret_words, int *ret_exit);

/* Where key and peers are: $GODWIT_CONFIG_DIR or /etc/godwit. */
const char *cli_config_dir(void);

/* Reports an error; returns the exit code. */
int cli_fail(struct report *r, const struct err *e);

/* 0, or an error that says so. */
int cli_need_root(struct err *e);

/* Signals come by signalfd; a closed pipe is an error of write(2). */
void cli_block_signals(void);
/* For a command that changes nothing: they end it, as an interrupted one. */
void cli_end_by_signals(void);
