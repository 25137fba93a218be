/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, enum err_class class, int code, const char *fmt, ...)
{
	va_list ap;

	if (code == 0)
		code = EIO;
	if (!e)
		return -code;
	e->class = class;
	e->code = code;
	e->remedy[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	/* What a program or a peer wrote may end up here. */
	text_clean(e->text);
	return -code;
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(e, ERR_LOCAL, code, "%s: %s", text, strerror(code ? code : EIO));
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX], prefix[ERR_TEXT_MAX / 2];
	va_list ap;

	if (!err_is_set(e))
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	memcpy(text, e->text, sizeof(text));
	if (snprintf(e->text, sizeof(e->text), "%s: %s", prefix, text) < 0)
		e->text[0] = '\0';
	text_clean(e->text);
	return -e->code;
}

int err_remedy(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (!err_is_set(e))
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(e->remedy, sizeof(e->remedy), fmt, ap);
	va_end(ap);
	text_clean(e->remedy);
	return -e->code;
}

const char *err_class_name(enum err_class class)
{
	switch (class) {
	case ERR_NONE:
		return "none";
	case ERR_LOCAL:
		return "local";
	case ERR_PEER:
		return "peer";
	case ERR_REFUSED:
		return "refused";
	case ERR_USAGE:
		return "usage";
	case ERR_CANCELLED:
		return "cancelled";
	}
	return "unknown";
}

int err_exit_code(const struct err *e)
{
	if (!err_is_set(e))
		return 0;
	switch (e->class) {
	case ERR_USAGE:
		return 2;
	case ERR_REFUSED:
		return 3;
	case ERR_PEER:
		return 4;
	case ERR_CANCELLED:
		return 130;
	default:
		return 1;
	}
}
