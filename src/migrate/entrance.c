/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/entrance.h"

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/porter.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define VISITOR_MS 3000 /* its handshake */

int entrance_init(struct entrance *n, const struct transport *first, const struct identity *self,
	struct err *e)
{
	*n = ENTRANCE_INIT;
	n->self = self;
	n->has_key = transport_fingerprint(first, n->peer_key);
	if (getrandom(n->token, sizeof(n->token), 0) != sizeof(n->token))
		return err_sys(e, errno, "random token");
	return 0;
}

int entrance_open(struct entrance *n, struct err *e)
{
	return door_open(&n->door, n->token, e);
}

void entrance_close(struct entrance *n)
{
	door_done(&n->door);
}

static bool is_same_peer(const uint8_t key[static FINGERPRINT_LEN], void *ctx)
{
	const struct entrance *n = ctx;

	return n->has_key && memcmp(key, n->peer_key, FINGERPRINT_LEN) == 0;
}

static int let_in(struct entrance *n, struct visitor *v, uint64_t deadline, struct transport **ret, struct err *e)
{
	if (v->tls != (n->self != NULL)) {
		visitor_close(v);
		return err_set(e, ERR_PEER, EPROTO, "a further connection of another kind");
	}
	if (v->tls)
		return porter_tls(v->in, n->self, is_same_peer, n, deadline, ret, e);
	return porter_plain(v->in, v->out, deadline, ret, e);
}

/* Who has seen the token pass by can come, too, but not in, and must not end the migration by that: 1. */
static int greet(struct entrance *n, uint64_t deadline, struct transport **ret, int *ret_hold, struct err *e)
{
	uint64_t soon = deadline_in_ms(VISITOR_MS);
	struct err why = ERR_INIT;
	struct visitor v;
	int r = door_next(&n->door, &v, deadline, e);

	if (r < 0)
		return r;
	if (let_in(n, &v, soon < deadline ? soon : deadline, ret, &why) == 0) {
		*ret_hold = v.hold;
		return 0;
	}
	fprintf(stderr, "godwit: a further connection is turned away: %s\n", why.text);
	fd_close(&v.hold);
	return 1;
}

bool entrance_admit(struct entrance *n)
{
	struct err why = ERR_INIT;

	return n->admitted || greet(n, deadline_in_ms(VISITOR_MS), &n->admitted, &n->admitted_hold, &why) == 0;
}

static int next_visitor(struct entrance *n, uint64_t deadline, struct transport **ret, struct err *e)
{
	int hold = fd_take(&n->admitted_hold), r = n->admitted ? 0 : 1;

	*ret = n->admitted;
	n->admitted = NULL;
	while (r == 1)
		r = greet(n, deadline, ret, &hold, e);
	if (r == 0)
		n->holds[n->n_holds++] = hold;
	return r;
}

int entrance_next(struct entrance *n, struct channel *ret, struct msg_hello *ret_hello,
	uint64_t timeout_ms, struct err *e)
{
	uint64_t deadline = deadline_in_ms(timeout_ms);
	struct transport *transport = NULL;
	int r;

	if (n->n_holds == ENTRANCE_CHANNELS_MAX)
		return err_set(e, ERR_PEER, E2BIG, "too many further connections");
	r = next_visitor(n, deadline, &transport, e);
	if (r < 0)
		return r;
	channel_init(ret, transport, CHANNEL_CONTROL, false);
	r = channel_hello(ret, 0, n->token, ret_hello, deadline, e);
	if (r == 0 && CRYPTO_memcmp(ret_hello->token, n->token, MSG_ID_LEN) != 0)
		r = err_set(e, ERR_PEER, EACCES, "a further connection with a wrong token");
	if (r < 0)
		channel_done(ret);
	return r;
}

const char *entrance_peer(const struct entrance *n, char ret[static FINGERPRINT_TEXT])
{
	ret[0] = '\0';
	if (n->has_key)
		fingerprint_format(n->peer_key, ret);
	return ret;
}

void entrance_let_go(struct entrance *n)
{
	while (n->n_holds > 0)
		fd_close(&n->holds[--n->n_holds]);
}

void entrance_done(struct entrance *n)
{
	entrance_close(n);
	entrance_let_go(n);
	transport_free(n->admitted);
	n->admitted = NULL;
	fd_close(&n->admitted_hold);
}
