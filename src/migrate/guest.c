/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/guest.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_MS 5000

static int ask(const struct guest *g, bool migrates, uint64_t memory_bytes, enum guest_answer *ret)
{
	struct guest_request request = {.migrates = migrates, .memory_bytes = memory_bytes};
	uint8_t answer;
	int r;

	*ret = GUEST_WELCOME;
	if (g->agent < 0)
		return 0;
	memcpy(request.key, g->peer.fingerprint, sizeof(request.key));
	if (send(g->agent, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		return -errno;
	r = fd_wait(g->agent, POLLIN, deadline_in_ms(ANSWER_MS));
	if (r < 0)
		return r;
	if (recv(g->agent, &answer, 1, 0) != 1)
		return -EPIPE;
	*ret = answer;
	return 0;
}

int guest_enter(const struct guest *g, struct err *e)
{
	enum guest_answer answer;
	int r = ask(g, false, 0, &answer);

	if (r < 0)
		return err_sys(e, -r, "asking the agent");
	if (answer == GUEST_WELCOME)
		return 0;
	err_set(e, ERR_REFUSED, EUSERS, "%s has too many connections here", g->peer.name);
	return err_remedy(e, "wait until some of its migrations to this host have ended");
}

/* A limit of godwit.conf that the agent says is reached. */
static const struct {
	const char *reason, *setting;
} limits[] = {
	[GUEST_MANY_MIGRATIONS] = {"as many migrations to this host as it takes are under way", "migrations"},
	[GUEST_MANY_OF_THE_PEER] = {"as many migrations of this peer as this host takes are under way",
		"migrations-per-peer"},
	[GUEST_MUCH_MEMORY] = {"the migrations under way to this host and this one bring more memory than it takes",
		"memory"},
};

static void check_limits(const struct guest *g, uint64_t memory_bytes, struct verdicts *ret)
{
	char remedy[128];
	enum guest_answer answer;
	int r = ask(g, true, memory_bytes, &answer);

	if (r == 0 && answer == GUEST_WELCOME)
		return;
	if (r < 0 || answer >= sizeof(limits) / sizeof(limits[0]) || !limits[answer].reason) {
		verdict_add(ret, "limits", CHECK_NO, "try again", "the agent does not answer");
		return;
	}
	snprintf(remedy, sizeof(remedy), "wait, or raise \"%s\" in godwit.conf on the target",
		limits[answer].setting);
	verdict_add(ret, "limits", CHECK_NO, remedy, "%s", limits[answer].reason);
}

static void refuse(const struct guest *g, const char *container, struct verdicts *ret)
{
	char remedy[384];

	snprintf(remedy, sizeof(remedy), "on the target: godwit peer allow %s \"%s\"", g->peer.name,
		container);
	if (!g->peer.accept)
		verdict_add(ret, "rights", CHECK_NO, remedy, "%s may send no containers here",
			g->peer.name);
	else
		verdict_add(ret, "rights", CHECK_NO, remedy,
			"%s may not send \"%s\" here, but: %s", g->peer.name, container,
			g->peer.containers);
}

void guest_check(const struct guest *g, struct verdicts *ret)
{
	if (!g->peer.name[0])
		return;
	if (!g->peer.accept)
		refuse(g, "*", ret);
	else
		verdict_add(ret, "rights", CHECK_OK, NULL, "%s may send: %s", g->peer.name,
			g->peer.containers);
}

void guest_check_offer(const struct guest *g, const char *container, uint64_t memory_bytes,
	struct verdicts *ret)
{
	if (!container_id_valid(container))
		verdict_add(ret, "name", CHECK_NO, "use letters, digits and _ + . -",
			"\"%s\" is no container name", container);
	else if (g->peer.name[0] && !peer_may_send(&g->peer, container))
		refuse(g, container, ret);
	else
		check_limits(g, memory_bytes, ret);
}
