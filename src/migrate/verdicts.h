/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "check/check.h"
#include "report/report.h"
#include "wire/channel.h"

/* Shows all verdicts, of the host @who unless NULL; the first "no" becomes the error. */
int verdicts_report(const struct verdicts *l, const char *who, struct report *r, struct err *e);

int verdicts_send(struct channel *c, const struct verdicts *l,
	const uint8_t token[static MSG_ID_LEN], uint64_t deadline, struct err *e);

/* Does the same with VERDICTS of the peer @who; its token in @ret_token. */
int verdicts_take(const struct msg_verdicts *m, const char *who, uint8_t ret_token[static MSG_ID_LEN],
	struct report *report, struct err *e);
