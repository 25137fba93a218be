/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

/*
 * Errors for functions that know what they were doing and for whom.
 *
 * Leaf functions return 0 or -errno and stay silent. Functions that know the domain take a
 * `struct err *`, fill it where the error arises and prefix it on the way up; only cli, agent
 * and migrate print it. The class says whose fault it was, so that a peer's fault never looks
 * like a local one; class and code travel over the wire and into JSON unchanged.
 */

enum err_class {
	ERR_NONE = 0,
	ERR_LOCAL = 1,	 /* this host failed: a system call, a program, a file */
	ERR_PEER = 2,	 /* the other side failed or broke the protocol */
	ERR_REFUSED = 3, /* a check said no: nothing was changed */
	ERR_USAGE = 4,	 /* the command line or a configuration file is wrong */
	ERR_CANCELLED = 5, /* the user or a signal asked to stop */
};

#define ERR_TEXT_MAX 768
#define ERR_REMEDY_MAX 384

struct err {
	enum err_class class;
	int code;		      /* positive errno, never 0 when class is set */
	char text[ERR_TEXT_MAX];      /* cause, one line, no trailing full stop */
	char remedy[ERR_REMEDY_MAX];  /* what the user can do; may be empty */
};

#define ERR_INIT ((struct err){.class = ERR_NONE})

/* Fills @e (which may be NULL) and returns -code; code 0 is stored as EIO. The first line only. */
__attribute__((format(printf, 4, 5))) int err_set(
	struct err *e, enum err_class class, int code, const char *fmt, ...);

/* Like err_set() with class ERR_LOCAL and ": strerror(code)" appended. */
__attribute__((format(printf, 3, 4))) int err_sys(struct err *e, int code, const char *fmt, ...);

/* Prefixes the text with "fmt: "; returns -e->code, or -EIO for an empty error. */
__attribute__((format(printf, 2, 3))) int err_wrap(struct err *e, const char *fmt, ...);

/* Says what to do about it; replaces an earlier remedy. Returns -e->code. */
__attribute__((format(printf, 2, 3))) int err_remedy(struct err *e, const char *fmt, ...);

static inline bool err_is_set(const struct err *e)
{
	return e && e->class != ERR_NONE;
}

/* "local", "peer", "refused", "usage", "cancelled", "none": stable names used in JSON. */
const char *err_class_name(enum err_class class);

/* Exit code of the process for a class, see godwit(1): 1 local, 2 usage, 3 refused, 4 peer, 130. */
int err_exit_code(const struct err *e);
