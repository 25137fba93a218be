/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/connection.h"

#include "agent/agent.h"
#include "base/clock.h"
#include "base/fd.h"
#include "migrate/door.h"
#include "migrate/porter.h"
#include "migrate/target.h"
#include "wire/peers.h"
#include "wire/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A peer that hasn't shown who it is within this time is gone. */
#define HANDSHAKE_MS 10000

static const uint8_t new_migration[ROUTE_LEN];

static bool trust_known(const uint8_t key[static FINGERPRINT_LEN], void *ctx)
{
	return peers_by_key(ctx, key) != NULL;
}

static int read_preamble(int fd, uint8_t ret_route[static ROUTE_LEN], uint64_t deadline, struct err *e)
{
	uint8_t p[PREAMBLE_LEN];
	int r = fd_read_all(fd, p, sizeof(p), deadline);

	if (r < 0)
		return err_set(e, ERR_PEER, -r, "the connection began with nothing");
	r = preamble_get(p, ret_route);
	return r < 0 ? err_set(e, ERR_PEER, -r, "the peer does not speak godwit's protocol") : 0;
}

static int find_guest(const struct transport *t, const struct peers *peers, struct guest *ret, struct err *e)
{
	uint8_t key[FINGERPRINT_LEN];
	const struct peer *p = transport_fingerprint(t, key) ? peers_by_key(peers, key) : NULL;

	if (!p)
		return err_set(e, ERR_PEER, EACCES, "a peer without a key");
	ret->peer = *p;
	return 0;
}

/* Nothing is done for a peer before its key is known to be trusted. */
static int begin_migration(int fd, const struct identity *self, const char *config_dir, int agent,
	uint64_t deadline, struct err *e)
{
	struct guest guest = {.agent = agent};
	struct transport *t = NULL;
	struct peers peers = PEERS_INIT;
	int r = peers_load(config_dir, &peers, e);

	if (r < 0)
		close(fd);
	else
		r = porter_tls(fd, self, trust_known, &peers, deadline, &t, e);
	if (r == 0)
		r = find_guest(t, &peers, &guest, e);
	peers_done(&peers);
	if (r == 0)
		return target_run(t, self, &guest, e);
	transport_free(t);
	return r;
}

int connection_handle(int fd, const struct identity *self, const char *config_dir, int agent)
{
	uint64_t deadline = deadline_in_ms(HANDSHAKE_MS);
	struct err e = ERR_INIT;
	uint8_t route[ROUTE_LEN];
	int r = read_preamble(fd, route, deadline, &e);

	if (r == 0 && memcmp(route, new_migration, ROUTE_LEN) == 0) {
		r = begin_migration(fd, self, config_dir, agent, deadline, &e);
	} else if (r == 0) {
		r = door_pass(route, fd, fd, true);
		if (r < 0)
			err_set(&e, ERR_PEER, -r, "a connection for a migration that is not here");
		else
			close(r);
	}
	if (r >= 0)
		return 0;
	fprintf(stderr, "godwit: %s\n", e.text);
	return err_exit_code(&e);
}

static int pass_stdio(const uint8_t route[static ROUTE_LEN], struct err *e)
{
	int hold = door_pass(route, STDIN_FILENO, STDOUT_FILENO, false);

	if (hold < 0)
		return err_set(e, ERR_PEER, -hold, "no migration of that token is here");
	/* ssh ends the connection when this process does. */
	fd_wait(hold, POLLIN, DEADLINE_NEVER);
	close(hold);
	return 0;
}

/* Another descriptor for what @fd is, which becomes /dev/null. */
static int move_away(int fd)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (null < 0 || moved < 0 || dup2(null, fd) < 0)
		return -errno;
	return moved;
}

int agent_serve_stdio(struct err *e)
{
	const struct guest root = GUEST_INIT;
	uint64_t deadline = deadline_in_ms(HANDSHAKE_MS);
	struct transport *t;
	uint8_t route[ROUTE_LEN];
	int r = read_preamble(STDIN_FILENO, route, deadline, e), in, out;

	if (r < 0)
		return r;
	if (memcmp(route, new_migration, ROUTE_LEN) != 0)
		return pass_stdio(route, e);
	/* It must end with its porter. */
	in = move_away(STDIN_FILENO);
	out = move_away(STDOUT_FILENO);
	if (in < 0 || out < 0)
		return err_sys(e, in < 0 ? -in : -out, "standard input and output");
	r = porter_plain(in, out, deadline, &t, e);
	return r < 0 ? r : target_run(t, NULL, &root, e);
}
