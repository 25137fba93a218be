/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/probe.h"

#include "base/clock.h"
#include "check/check.h"
#include "migrate/link.h"
#include "migrate/verdicts.h"

#include <errno.h>
#include <stdlib.h>

#define CONNECT_MS 10000
#define CHECK_MS 60000

static int read_container(const char *id, struct verdicts *ret, struct err *e)
{
	struct container_facts f;
	int r = container_facts_read(id, &f, e);

	if (r == 0)
		check_container(&f, ret);
	container_facts_done(&f);
	return r;
}

static int check_here(const char *container, struct report *report, struct err *e)
{
	struct verdicts *l = calloc(1, sizeof(*l));
	struct host_facts *f = calloc(1, sizeof(*f));
	int r;

	if (l && f) {
		host_facts_read(f);
		check_host(f, l);
		r = container ? read_container(container, l, e) : 0;
		if (r == 0)
			r = verdicts_report(l, NULL, report, e);
	} else {
		r = err_sys(e, ENOMEM, "checks");
	}
	free(l);
	free(f);
	return r;
}

static int check_there(struct link *l, struct report *report, struct err *e)
{
	static const uint8_t no_token[MSG_ID_LEN];
	uint8_t token[MSG_ID_LEN];
	struct msg m = MSG_INIT;
	struct channel c;
	int r = link_open(l, CHANNEL_CONTROL, 0, no_token, &c, deadline_in_ms(CONNECT_MS), e);

	if (r < 0)
		return r;
	r = channel_send(&c, MSG_CHECK, NULL, deadline_in_ms(CONNECT_MS), e);
	if (r == 0)
		r = channel_expect(&c, MSG_VERDICTS, &m, deadline_in_ms(CHECK_MS), e);
	if (r == 0)
		r = verdicts_take(&m.body.verdicts, c.peer, token, report, e);
	msg_done(&m);
	channel_done(&c);
	return r;
}

int probe_run(const char *config_dir, const char *container, const char *target, struct report *report, struct err *e)
{
	struct identity identity = IDENTITY_INIT;
	struct peers peers = PEERS_INIT;
	struct link link = {0};
	int r = check_here(container, report, e);

	if (r < 0 || !target)
		return r;
	r = identity_load(config_dir, &identity, e);
	if (r == 0)
		r = peers_load(config_dir, &peers, e);
	if (r == 0)
		r = link_init(&link, target, &identity, &peers, e);
	if (r == 0)
		r = check_there(&link, report, e);
	link_close(&link);
	peers_done(&peers);
	identity_done(&identity);
	return r;
}
