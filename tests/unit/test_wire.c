/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/wait.h"
#include "wire/channel.h"
#include "wire/identity.h"
#include "wire/peers.h"
#include "wire/proof.h"
#include "wire/transport.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SOON deadline_in_ms(5000)

/* --- identity and peers ----------------------------------------------------------------------- */

static void a_key_is_made_once_and_private(void **state)
{
	struct identity a = IDENTITY_INIT, b = IDENTITY_INIT;
	char *dir = scratch_make(), text[FINGERPRINT_TEXT], path[512];
	uint8_t back[FINGERPRINT_LEN];
	struct err e = ERR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(identity_load(dir, &a, &e), 0);
	assert_int_equal(identity_load(dir, &b, &e), 0);
	assert_memory_equal(a.fingerprint, b.fingerprint, FINGERPRINT_LEN);
	fingerprint_format(a.fingerprint, text);
	assert_int_equal(strlen(text), strlen("SHA256:") + 43);
	assert_int_equal(fingerprint_parse(text, back), 0);
	assert_memory_equal(a.fingerprint, back, FINGERPRINT_LEN);
	identity_done(&a);
	identity_done(&b);
	snprintf(path, sizeof(path), "%s/key.pem", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	chmod(path, 0640);
	assert_true(identity_load(dir, &a, &e) < 0);
	assert_non_null(strstr(e.text, "key.pem"));
	identity_done(&a);
	scratch_remove(dir);
}

static void fingerprints_are_parsed_strictly(void **state)
{
	static const char *const bad[] = {"", "SHA256:", "SHA256:short", "MD5:abc",
		"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!",
		"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	uint8_t f[FINGERPRINT_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(fingerprint_parse(bad[i], f), -EINVAL);
}

#define KEY_A "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_B "SHA256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"

static void peers_are_added_saved_and_found(void **state)
{
	struct peers p = PEERS_INIT, q;
	char *dir = scratch_make();
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(peers_load(dir, &p, &e), 0);
	assert_int_equal(p.n, 0);
	assert_int_equal(peers_add(&p, "tuebingen", "10.0.0.2", KEY_A, &e), 0);
	assert_int_equal(peers_add(&p, "six", "[fd00::1]:99", KEY_B, &e), 0);
	assert_int_equal(peers_save(dir, &p, &e), 0);
	assert_int_equal(peers_load(dir, &q, &e), 0);
	assert_int_equal(q.n, 2);
	assert_string_equal(peers_by_name(&q, "six")->address, "[fd00::1]:99");
	assert_ptr_equal(peers_by_key(&q, p.v[0].fingerprint), &q.v[0]);
	assert_null(peers_by_name(&q, "nobody"));
	/* Another key under the same name is what a stranger would try. */
	assert_true(peers_add(&q, "six", "[fd00::1]:99", KEY_A, &e) < 0);
	assert_non_null(strstr(e.text, "another key"));
	assert_int_equal(peers_remove(&q, "six", &e), 0);
	assert_true(peers_remove(&q, "six", &e) < 0);
	peers_done(&p);
	peers_done(&q);
	scratch_remove(dir);
}

static void a_peer_may_send_what_it_is_allowed(void **state)
{
	char longest[PEER_CONTAINERS_MAX + 2], *dir = scratch_make();
	struct peers p = PEERS_INIT, q;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(peers_add(&p, "a", "10.0.0.2", KEY_A, &e), 0);
	assert_int_equal(peers_add(&p, "b", "10.0.0.3", KEY_B, &e), 0);
	assert_true(peer_may_send(&p.v[0], "anything"));
	assert_int_equal(peers_allow(&p, "a", "web-* game[12]", &e), 0);
	assert_int_equal(peers_allow(&p, "b", NULL, &e), 0);
	/* Rights outlive an edit of the address, and the file. */
	assert_int_equal(peers_add(&p, "a", "10.0.0.9", KEY_A, &e), 0);
	assert_int_equal(peers_save(dir, &p, &e), 0);
	assert_int_equal(peers_load(dir, &q, &e), 0);
	assert_string_equal(q.v[0].address, "10.0.0.9");
	assert_true(peer_may_send(&q.v[0], "web-1"));
	assert_true(peer_may_send(&q.v[0], "game2"));
	assert_false(peer_may_send(&q.v[0], "game3"));
	assert_false(peer_may_send(&q.v[0], "my-web-1"));
	assert_false(peer_may_send(&q.v[1], "web-1"));
	assert_int_equal(peers_allow(&q, "b", "*", &e), 0);
	assert_true(peer_may_send(&q.v[1], "web-1"));
	assert_true(peers_allow(&q, "b", "  ", &e) < 0);
	assert_true(peers_allow(&q, "b", "a\n[c]", &e) < 0);
	assert_true(peers_allow(&q, "nobody", "*", &e) < 0);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_true(peers_allow(&q, "a", longest, &e) < 0);
	longest[sizeof(longest) - 2] = '\0';
	assert_int_equal(peers_allow(&q, "a", longest, &e), 0);
	peers_done(&p);
	assert_int_equal(peers_save(dir, &q, &e), 0);
	assert_int_equal(peers_load(dir, &p, &e), 0);
	assert_true(peer_may_send(&p.v[0], longest));
	peers_done(&p);
	peers_done(&q);
	scratch_remove(dir);
}

static void a_bad_peers_file_is_named_with_its_line(void **state)
{
#define SECTION "[a]\naddress = x\nfingerprint = " KEY_A "\n"
	static const struct {
		const char *text, *line;
	} bad[] = {
		{"[a]\naddress = x\nfingerprint = nonsense\n", "line 3"},
		{"[a]\naddress = x\naccept = no\n", "line 3"},
		{SECTION "accept = maybe\n", "line 4"},
		{SECTION "accept = no\ncontainers = a/b\n", "line 5"},
		{SECTION "rights = all\n", "line 4"},
		{SECTION "[b]\naccept = no\n", "line 5"},
		{SECTION SECTION, "line 5"},
	};
	char *dir = scratch_make();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = ERR_INIT;
		struct peers p;

		scratch_file(dir, "peers", bad[i].text, strlen(bad[i].text));
		assert_true(peers_load(dir, &p, &e) < 0);
		assert_non_null(strstr(e.text, bad[i].line));
		assert_int_equal(e.class, ERR_USAGE);
	}
	scratch_remove(dir);
}

static void addresses_are_split(void **state)
{
	char host[256], port[6];

	(void)state;
	assert_int_equal(peer_address_split("host", host, port), 0);
	assert_string_equal(host, "host");
	assert_string_equal(port, "7342");
	assert_int_equal(peer_address_split("[fd00::1]:80", host, port), 0);
	assert_string_equal(host, "fd00::1");
	assert_string_equal(port, "80");
	assert_int_equal(peer_address_split("host:0", host, port), -EINVAL);
	assert_int_equal(peer_address_split("host:65536", host, port), -EINVAL);
	assert_int_equal(peer_address_split("[fd00::1", host, port), -EINVAL);
	assert_int_equal(peer_address_split("", host, port), -EINVAL);
	assert_int_equal(peer_address_split("a b", host, port), -EINVAL);
}

/* --- channels --------------------------------------------------------------------------------- */

/* Two ends of a connection; the far one is served by a thread. */
struct pair {
	struct channel near;
	int far_fd;
	pthread_t thread;
	int (*serve)(struct channel *far, struct err *e);
	struct identity *key; /* of the far side: TLS */
	struct identity *own;
	struct proof *proof;	  /* of the near side's key, for the far one */
	struct proof *near_proof; /* the other way round */
	const uint8_t *trusted_by_far, *trusted_by_near;
	int far_result, near_result;
	struct err far_error, near_error;
};

static bool trusts(const uint8_t f[static FINGERPRINT_LEN], void *ctx)
{
	return memcmp(f, ctx, FINGERPRINT_LEN) == 0;
}

static void *far_main(void *arg)
{
	struct pair *p = arg;
	struct transport *t = NULL;
	struct channel c;

	if (p->key)
		p->far_result = transport_tls_server(p->far_fd, p->key, trusts,
			(void *)p->trusted_by_far, p->proof, &t, &p->far_error);
	else
		p->far_result = transport_plain(p->far_fd, p->far_fd, &t, &p->far_error);
	if (p->far_result == 0 && p->key)
		p->far_result = transport_handshake(t, SOON, &p->far_error);
	if (p->far_result < 0) {
		transport_free(t);
		return NULL;
	}
	channel_init(&c, t, CHANNEL_CONTROL, false);
	p->far_result = p->serve(&c, &p->far_error);
	channel_done(&c);
	return NULL;
}

static int pair_open(struct pair *p)
{
	struct transport *t = NULL;
	int sv[2], r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	p->far_fd = sv[1];
	assert_int_equal(pthread_create(&p->thread, NULL, far_main, p), 0);
	if (p->key)
		r = transport_tls_client(sv[0], p->own, trusts, (void *)p->trusted_by_near, p->near_proof,
			&t, &p->near_error);
	else
		r = transport_plain(sv[0], sv[0], &t, &p->near_error);
	if (r == 0 && p->key && (r = transport_handshake(t, SOON, &p->near_error)) < 0)
		transport_free(t);
	if (r == 0)
		channel_init(&p->near, t, CHANNEL_CONTROL, true);
	return p->near_result = r;
}

static void pair_close(struct pair *p)
{
	if (p->near_result == 0)
		channel_done(&p->near);
	pthread_join(p->thread, NULL);
}

struct two_hosts {
	char *dirs[2];
	struct identity a, b;
};

static void hosts_make(struct two_hosts *h)
{
	struct err e = ERR_INIT;

	*h = (struct two_hosts){.a = IDENTITY_INIT, .b = IDENTITY_INIT};
	for (int i = 0; i < 2; i++) {
		h->dirs[i] = scratch_make();
		assert_int_equal(identity_load(h->dirs[i], i == 0 ? &h->a : &h->b, &e), 0);
	}
}

static void hosts_remove(struct two_hosts *h)
{
	identity_done(&h->a);
	identity_done(&h->b);
	scratch_remove(h->dirs[0]);
	scratch_remove(h->dirs[1]);
}

static const uint8_t token[MSG_ID_LEN] = {1, 2, 3};

static int serve_hello_and_image(struct channel *far, struct err *e)
{
	struct msg_hello hello;
	struct msg m;
	int r = channel_hello(far, 0, token, &hello, SOON, e);

	if (r == 0)
		r = channel_expect(far, MSG_IMAGE, &m, SOON, e);
	if (r < 0)
		return r;
	r = m.body.image.data.len == MSG_DATA_MAX ? 0 : -EBADMSG;
	msg_done(&m);
	return r == 0 ? channel_send(far, MSG_PREPARED, NULL, SOON, e) : r;
}

static void talk(struct pair *p)
{
	static const uint8_t data[MSG_DATA_MAX];
	struct msg_image image = {
		.name = msg_string("x"), .total = MSG_DATA_MAX, .data = {data, sizeof(data)}};
	struct err e = ERR_INIT;
	struct msg m;

	assert_int_equal(channel_hello(&p->near, 0, token, NULL, SOON, &e), 0);
	assert_int_equal(channel_send_data(&p->near, MSG_IMAGE, &image, &image.data, SOON, &e), 0);
	assert_int_equal(channel_expect(&p->near, MSG_PREPARED, &m, SOON, &e), 0);
	msg_done(&m);
	assert_true(transport_written(p->near.transport) > MSG_DATA_MAX);
}

static void messages_cross_a_plain_connection(void **state)
{
	struct pair p = {.serve = serve_hello_and_image};

	(void)state;
	assert_int_equal(pair_open(&p), 0);
	talk(&p);
	pair_close(&p);
	assert_int_equal(p.far_result, 0);
}

/* What the half of the other side keeps of a handshake of client @a with server @b. */
static void prove(struct identity *a, struct identity *b, struct proof *proof)
{
	struct pair p = {.serve = serve_hello_and_image, .key = b, .own = a,
		.proof = proof->of == PROOF_OF_CLIENT ? proof : NULL,
		.near_proof = proof->of == PROOF_OF_SERVER ? proof : NULL,
		.trusted_by_near = b->fingerprint, .trusted_by_far = a->fingerprint};

	assert_int_equal(pair_open(&p), 0);
	talk(&p);
	pair_close(&p);
	assert_int_equal(p.far_result, 0);
}

static int check_proof(const struct proof *p, const uint8_t *nonce, const struct identity *self)
{
	return proof_check(p->of, nonce, self->cert, p->key, p->key_len, p->messages.data, p->messages.len);
}

/* Each byte of it counts, or says nothing to whoever checks: what is in the messages after the signature. */
static void check_changes(struct proof *p, const struct identity *b)
{
	const size_t header = 4, last = p->of == PROOF_OF_CLIENT ? 8 : 5;
	size_t message = 0, begin = 0, end = 0;

	for (size_t i = 0; i < p->messages.len; i++) {
		int r;

		if (i == end) {
			message += i > 0;
			begin = i;
			end = i + header + get_be16(p->messages.data + i + 2);
		}
		p->messages.data[i] ^= 1;
		r = check_proof(p, p->nonce, b);
		p->messages.data[i] ^= 1;
		assert_int_equal(r, message <= last || i < begin + header ? -EACCES : 0);
	}
	for (size_t n = 0; n < p->messages.len; n++)
		assert_int_equal(proof_check(p->of, p->nonce, b->cert, p->key, p->key_len, p->messages.data, n), -EACCES);
}

static void is_proven_of(enum proof_of of, struct identity *a, struct identity *b)
{
	static const uint8_t nonce[PROOF_NONCE_LEN] = {1, 2, 3}, other[PROOF_NONCE_LEN] = {1, 2, 4};
	struct identity *peer = of == PROOF_OF_CLIENT ? a : b, *self = of == PROOF_OF_CLIENT ? b : a;
	uint8_t fingerprint[FINGERPRINT_LEN];
	struct proof p, q;

	proof_init(&p, of, nonce);
	prove(a, b, &p);
	assert_int_equal(fingerprint_of_key(p.key, p.key_len, fingerprint), 0);
	assert_memory_equal(fingerprint, peer->fingerprint, sizeof(fingerprint));
	assert_int_equal(check_proof(&p, nonce, self), 0);
	/* Another time, another host (whom a server does not know yet when it signs), and the key of another. */
	assert_int_equal(check_proof(&p, other, self), -EACCES);
	assert_int_equal(check_proof(&p, nonce, peer), of == PROOF_OF_CLIENT ? -EACCES : 0);
	/* What the other side signed says nothing. */
	p.of = of == PROOF_OF_CLIENT ? PROOF_OF_SERVER : PROOF_OF_CLIENT;
	assert_int_equal(check_proof(&p, nonce, self), -EACCES);
	p.of = of;
	check_changes(&p, self);
	proof_init(&q, of, nonce);
	prove(b, a, &q);
	memcpy(p.key, q.key, sizeof(p.key));
	assert_int_equal(check_proof(&p, nonce, self), -EACCES);
	proof_done(&p);
	proof_done(&q);
}

static void a_key_is_proven_to_who_did_not_shake_hands(void **state)
{
	struct two_hosts h;

	(void)state;
	hosts_make(&h);
	is_proven_of(PROOF_OF_CLIENT, &h.a, &h.b);
	is_proven_of(PROOF_OF_SERVER, &h.a, &h.b);
	hosts_remove(&h);
}

static void tls_connects_peers_that_trust_each_other_only(void **state)
{
	struct two_hosts h;
	struct err e = ERR_INIT;

	(void)state;
	hosts_make(&h);

	struct pair good = {.serve = serve_hello_and_image, .key = &h.b, .own = &h.a,
		.trusted_by_far = h.a.fingerprint, .trusted_by_near = h.b.fingerprint};
	assert_int_equal(pair_open(&good), 0);
	talk(&good);
	pair_close(&good);
	assert_int_equal(good.far_result, 0);

	struct pair wrong_server = {.serve = serve_hello_and_image, .key = &h.b, .own = &h.a,
		.trusted_by_far = h.a.fingerprint, .trusted_by_near = h.a.fingerprint};
	assert_true(pair_open(&wrong_server) < 0);
	assert_non_null(strstr(wrong_server.near_error.text, "is not trusted here"));
	pair_close(&wrong_server);
	assert_true(wrong_server.far_result < 0);

	struct pair stranger = {.serve = serve_hello_and_image, .key = &h.b, .own = &h.a,
		.trusted_by_far = h.b.fingerprint, .trusted_by_near = h.b.fingerprint};
	if (pair_open(&stranger) == 0) {
		/* In TLS 1.3 the client learns it with its first read. */
		assert_true(channel_hello(&stranger.near, 0, token, NULL, SOON, &e) < 0);
		assert_non_null(strstr(e.text, "does not trust"));
	}
	pair_close(&stranger);
	assert_true(stranger.far_result < 0);
	assert_non_null(strstr(stranger.far_error.text, "is not trusted here"));

	hosts_remove(&h);
}

static int serve_abort(struct channel *far, struct err *e)
{
	struct err why = ERR_INIT;

	err_set(&why, ERR_REFUSED, EEXIST, "the name is taken");
	err_remedy(&why, "choose another");
	(void)e;
	channel_abort(far, &why);
	return 0;
}

static void an_abort_becomes_the_error_it_carries(void **state)
{
	struct pair p = {.serve = serve_abort};
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	assert_int_equal(pair_open(&p), 0);
	assert_int_equal(channel_recv(&p.near, &m, SOON, &e), -EEXIST);
	assert_int_equal(e.class, ERR_REFUSED);
	assert_non_null(strstr(e.text, "the name is taken"));
	assert_string_equal(e.remedy, "choose another");
	assert_true(p.near.aborted);
	pair_close(&p);
}

static int serve_out_of_order(struct channel *far, struct err *e)
{
	/* COMMIT is the source's to say. */
	return channel_send(far, MSG_COMMIT, NULL, SOON, e);
}

static void what_a_peer_may_not_say_is_refused(void **state)
{
	struct pair p = {.serve = serve_out_of_order};
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	assert_int_equal(pair_open(&p), 0);
	assert_int_equal(channel_recv(&p.near, &m, SOON, &e), -EPROTO);
	assert_int_equal(e.class, ERR_PEER);
	pair_close(&p);
}

static int serve_nothing(struct channel *far, struct err *e)
{
	struct msg m;

	return channel_recv(far, &m, SOON, e);
}

static void a_silent_peer_is_waited_for_until_the_deadline(void **state)
{
	struct pair p = {.serve = serve_nothing};
	struct err e = ERR_INIT;
	struct msg m;

	(void)state;
	assert_int_equal(pair_open(&p), 0);
	assert_int_equal(channel_recv(&p.near, &m, deadline_in_ms(50), &e), -ETIMEDOUT);
	assert_int_equal(channel_wait(&p.near, -1, deadline_in_ms(20)), -ETIMEDOUT);
	pair_close(&p);
	assert_int_equal(p.far_error.class, ERR_PEER);
}

static int serve_three_at_once(struct channel *far, struct err *e)
{
	struct msg_hello hello;
	struct msg m;
	int r = channel_hello(far, 0, token, &hello, SOON, e);

	for (int i = 0; r == 0 && i < 3; i++)
		r = channel_send(far, MSG_PREPARED, NULL, SOON, e);
	return r < 0 ? r : channel_recv(far, &m, SOON, e);
}

struct reading {
	struct channel *from;
	int messages, enough;
};

static int read_one(void *ctx, struct err *e)
{
	struct reading *r = ctx;
	struct msg m;
	int result = channel_recv(r->from, &m, SOON, e);

	if (result == 0)
		msg_done(&m);
	if (++r->messages == 3)
		eventfd_write(r->enough, 1);
	return result;
}

/* TLS reads as much as there is: what it has beyond the first message no poll(2) tells. */
static void what_has_been_read_already_is_not_waited_for(void **state)
{
	struct two_hosts h;
	struct timespec until_all_is_there = {.tv_nsec = 50000000};
	struct waiter w = WAITER_INIT;
	struct err e = ERR_INIT;

	(void)state;
	hosts_make(&h);
	struct pair p = {.serve = serve_three_at_once, .key = &h.b, .own = &h.a,
		.trusted_by_far = h.a.fingerprint, .trusted_by_near = h.b.fingerprint};
	assert_int_equal(pair_open(&p), 0);
	assert_int_equal(channel_hello(&p.near, 0, token, NULL, SOON, &e), 0);
	struct reading r = {.from = &p.near, .enough = eventfd(0, EFD_CLOEXEC)};
	nanosleep(&until_all_is_there, NULL);
	waiter_add_transport(&w, p.near.transport, read_one, &r);
	assert_int_equal(waiter_wait(&w, r.enough, SOON, &e), 0);
	assert_int_equal(r.messages, 3);
	pair_close(&p);
	close(r.enough);
	hosts_remove(&h);
}

static void preambles_route(void **state)
{
	uint8_t p[PREAMBLE_LEN], route[ROUTE_LEN];

	(void)state;
	preamble_put(p, token);
	assert_int_equal(preamble_get(p, route), 0);
	assert_memory_equal(route, token, ROUTE_LEN);
	p[0] = 'g';
	assert_int_equal(preamble_get(p, route), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_made_once_and_private),
		cmocka_unit_test(fingerprints_are_parsed_strictly),
		cmocka_unit_test(peers_are_added_saved_and_found),
		cmocka_unit_test(a_peer_may_send_what_it_is_allowed),
		cmocka_unit_test(a_bad_peers_file_is_named_with_its_line),
		cmocka_unit_test(addresses_are_split),
		cmocka_unit_test(messages_cross_a_plain_connection),
		cmocka_unit_test(a_key_is_proven_to_who_did_not_shake_hands),
		cmocka_unit_test(tls_connects_peers_that_trust_each_other_only),
		cmocka_unit_test(an_abort_becomes_the_error_it_carries),
		cmocka_unit_test(what_a_peer_may_not_say_is_refused),
		cmocka_unit_test(a_silent_peer_is_waited_for_until_the_deadline),
		cmocka_unit_test(what_has_been_read_already_is_not_waited_for),
		cmocka_unit_test(preambles_route),
	};

	/* As cli_block_signals() does: a peer that is gone is an error of write(2). */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
