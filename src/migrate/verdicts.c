/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/verdicts.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int verdicts_report(const struct verdicts *l, const char *who, struct report *r, struct err *e)
{
	static const enum report_level levels[] = {
		[CHECK_OK] = REPORT_OK, [CHECK_WARN] = REPORT_WARN, [CHECK_NO] = REPORT_NO};
	const struct verdict *no = NULL;
	char reason[1024];

	for (size_t i = 0; i < l->n; i++) {
		const struct verdict *v = &l->v[i];

		snprintf(reason, sizeof(reason), "%s%s%s", who ? who : "", who ? ": " : "",
			v->reason);
		text_clean(reason);
		report_check(r, v->name, levels[v->level], reason, v->remedy);
		if (v->level == CHECK_NO && !no)
			no = v;
	}
	if (!no)
		return 0;
	err_set(e, ERR_REFUSED, EPERM, "%s: %s%s%s", no->name, who ? who : "", who ? ": " : "",
		no->reason);
	return err_remedy(e, "%s", no->remedy);
}

int verdicts_send(struct channel *c, const struct verdicts *l,
	const uint8_t token[static MSG_ID_LEN], uint64_t deadline, struct err *e)
{
	struct msg_verdict out[VERDICTS_MAX];
	struct msg_verdicts m = {.list = {out, l->n}};

	memcpy(m.token, token, MSG_ID_LEN);
	for (size_t i = 0; i < l->n; i++)
		out[i] = (struct msg_verdict){
			.level = (uint8_t)l->v[i].level,
			.name = msg_string(l->v[i].name),
			.reason = msg_string(l->v[i].reason),
			.remedy = msg_string(l->v[i].remedy),
		};
	return channel_send(c, MSG_VERDICTS, &m, deadline, e);
}

int verdicts_take(const struct msg_verdicts *m, const char *who, uint8_t ret_token[static MSG_ID_LEN],
	struct report *report, struct err *e)
{
	struct verdicts *l = calloc(1, sizeof(*l));
	const struct msg_verdict *v = m->list.v;
	int r;

	if (!l)
		return err_sys(e, ENOMEM, "checks");
	memcpy(ret_token, m->token, MSG_ID_LEN);
	for (size_t i = 0; i < m->list.n; i++)
		verdict_add(l, msg_text(&v[i].name), (enum check_level)v[i].level, msg_text(&v[i].remedy), "%s",
			msg_text(&v[i].reason));
	r = verdicts_report(l, who, report, e);
	free(l);
	return r;
}
