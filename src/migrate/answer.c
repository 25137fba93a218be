/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/answer.h"

#include "base/clock.h"
#include "base/hex.h"
#include "migrate/journal.h"
#include "migrate/recover.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>


/* Nobody works on it any more. */
static enum msg_state state_of_dead(struct journal_entry *j)
{
	enum recovery how;
	struct err e = ERR_INIT;

	if (strcmp(j->step, "drained") == 0)
		return STATE_DRAINED;
	if (strcmp(j->step, "owner") == 0)
		return STATE_LOST;
	/* Its guard may be at it. */
	if (recover_entry(j, NULL, &how, &e) < 0 || (how != RECOVERY_CLEARED && how != RECOVERY_OTHER))
		return STATE_UNDECIDED;
	return STATE_UNKNOWN;
}

static enum msg_state state_of(struct journal_entry *j)
{
	if (!j->alive)
		return state_of_dead(j);
	/* Also one that has everything: it is waiting at its door, with its figures. */
	return strcmp(j->step, "prepared") == 0 ? STATE_UNDECIDED : STATE_DRAINING;
}

/* Packets may come before it. */
static int take_bye(struct channel *control, const struct journal_entry *j, struct err *e)
{
	enum msg_type type = MSG_HELD;
	int r = 0;

	while (r == 0 && (type == MSG_HELD || type == MSG_HELD_END)) {
		struct msg m;

		r = channel_recv(control, &m, deadline_in_ms(CHANNEL_SILENCE_MS), e);
		type = m.type;
		msg_done(&m);
	}
	if (r < 0)
		return r;
	if (type != MSG_BYE)
		return err_set(e, ERR_PEER, EPROTO, "%s instead of BYE", msg_name(type));
	if (unlink(j->path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "removing %s", j->path);
	return channel_send(control, MSG_BYE, NULL, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

int answer_ask(struct channel *control, const struct msg_ask *m, const char *key, struct err *e)
{
	struct msg_answer a = {.state = STATE_UNKNOWN};
	struct journal_entry j;
	int r = journal_find(m->id, false, &j);

	if (r == 0 && strcmp(j.key, key) != 0)
		return err_set(e, ERR_REFUSED, EACCES, "that migration came from another peer");
	if (r < 0 && r != -ENOENT)
		return err_sys(e, -r, "reading the journal");
	if (r == 0)
		a.state = (uint8_t)state_of(&j);
	if (a.state == STATE_DRAINING && !hex_parse(j.token, a.token, MSG_ID_LEN))
		return err_set(e, ERR_LOCAL, EBADMSG, "%s has no token", j.path);
	r = channel_send(control, MSG_STATE, &a, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	if (r == 0 && a.state == STATE_DRAINED)
		r = take_bye(control, &j, e);
	return r < 0 ? r : 1;
}
