/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/channel.h"

#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ABORT_TIMEOUT_MS 2000

void channel_init(struct channel *c, struct transport *t, enum msg_channel kind, bool is_source)
{
	*c = (struct channel){.transport = t, .kind = kind, .is_source = is_source};
	buf_init(&c->out, FRAME_PAYLOAD_MAX + FRAME_HEADER);
	buf_init(&c->in, FRAME_PAYLOAD_MAX);
	strcpy(c->peer, "the peer");
}

void channel_done(struct channel *c)
{
	transport_free(c->transport);
	buf_done(&c->out);
	buf_done(&c->in);
	*c = (struct channel){0};
}

int channel_send(struct channel *c, enum msg_type type, const void *body, uint64_t deadline,
	struct err *e)
{
	int r;

	buf_reset(&c->out);
	r = msg_encode(type, body, &c->out);
	if (r < 0)
		return err_sys(e, -r, "message %s", msg_name(type));
	r = transport_write(c->transport, c->out.data, c->out.len, NULL, 0, deadline, e);
	return r < 0 ? err_wrap(e, "%s", c->peer) : 0;
}

int channel_send_data(struct channel *c, enum msg_type type, const void *body,
	const struct msg_bytes *data, uint64_t deadline, struct err *e)
{
	int r;

	buf_reset(&c->out);
	r = msg_encode_head(type, body, &c->out);
	if (r < 0)
		return err_sys(e, -r, "message %s", msg_name(type));
	r = transport_write(c->transport, c->out.data, c->out.len, data->p, data->len, deadline, e);
	return r < 0 ? err_wrap(e, "%s", c->peer) : 0;
}

static int peer_broke(struct channel *c, const char *what, unsigned type, struct err *e)
{
	return err_set(e, ERR_PEER, EPROTO, "%s broke the protocol: %s (%s, %u)", c->peer, what,
		msg_name(type), type);
}

static int take_abort(struct channel *c, const struct msg_abort *a, struct err *e)
{
	/* What it refused, we refuse; everything else is, from here, the peer's failure. */
	enum err_class class = a->class == ERR_REFUSED || a->class == ERR_CANCELLED ? a->class
										     : ERR_PEER;
	int r = err_set(e, class, (int)a->code, "%s: %s", c->peer, msg_text(&a->text));

	if (a->remedy.len > 0)
		err_remedy(e, "%s", msg_text(&a->remedy));
	return r;
}

int channel_take(struct channel *c, struct msg *ret, uint64_t deadline, struct err *e)
{
	uint8_t header[FRAME_HEADER];
	enum msg_type type = MSG_NONE;
	size_t len;
	void *payload;
	int r;

	*ret = MSG_INIT;
	r = transport_read(c->transport, header, sizeof(header), deadline, e);
	if (r < 0)
		return err_wrap(e, "%s", c->peer);
	r = msg_header(header, &type, &len);
	if (r < 0)
		return peer_broke(c, "bad frame", get_be16(header + 4), e);
	if (!msg_allowed(type, c->kind, !c->is_source))
		return peer_broke(c, "message not allowed here", type, e);
	buf_reset(&c->in);
	payload = buf_grow(&c->in, len);
	if (!payload)
		return err_sys(e, ENOMEM, "message of %zu bytes", len);
	r = transport_read(c->transport, payload, len, deadline, e);
	if (r < 0)
		return err_wrap(e, "%s", c->peer);
	r = msg_decode(type, payload, len, ret);
	return r < 0 ? peer_broke(c, "bad message", type, e) : 0;
}

int channel_recv(struct channel *c, struct msg *ret, uint64_t deadline, struct err *e)
{
	int r = channel_take(c, ret, deadline, e);

	if (r < 0 || ret->type != MSG_ABORT)
		return r;
	c->aborted = ret->body.abort.class != ERR_NONE;
	r = take_abort(c, &ret->body.abort, e);
	msg_done(ret);
	return r;
}

int channel_wait(struct channel *c, int stop, uint64_t deadline)
{
	struct pollfd p[2] = {
		{.fd = stop, .events = POLLIN},
		{.fd = transport_fd(c->transport), .events = POLLIN},
	};
	int r;

	if (transport_pending(c->transport))
		return 1;
	do
		r = poll(p, 2, deadline_poll_ms(deadline));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	return p[0].revents ? 0 : 1;
}

int channel_expect(struct channel *c, enum msg_type type, struct msg *ret, uint64_t deadline,
	struct err *e)
{
	int r = channel_recv(c, ret, deadline, e);

	if (r < 0 || ret->type == type)
		return r;
	r = peer_broke(c, "message out of order", ret->type, e);
	msg_done(ret);
	return r;
}

struct msg_abort channel_reason(const struct err *why)
{
	return (struct msg_abort){
		.class = (uint8_t)why->class,
		.code = (uint32_t)why->code,
		.text = msg_string(why->text),
		.remedy = msg_string(why->remedy),
	};
}

void channel_abort(struct channel *c, const struct err *why)
{
	struct msg_abort a = channel_reason(why);

	if (c->transport)
		channel_send(c, MSG_ABORT, &a, deadline_in_ms(ABORT_TIMEOUT_MS), NULL);
}

static int check_hello(struct channel *c, const struct msg_hello *h, struct err *e)
{
	if (h->version_min > MSG_VERSION || h->version_max < MSG_VERSION) {
		err_set(e, ERR_PEER, EPROTO, "%s speaks protocol %u to %u, this host %u",
			msg_text(&h->host), h->version_min, h->version_max, MSG_VERSION);
		return err_remedy(e, "install the same version of godwit on both hosts");
	}
	if (c->is_source && h->channel != c->kind)
		return peer_broke(c, "answers for another channel", MSG_HELLO, e);
	snprintf(c->peer, sizeof(c->peer), "%s", msg_text(&h->host));
	return 0;
}

static int send_hello(struct channel *c, uint8_t index, const uint8_t token[static MSG_ID_LEN],
	uint64_t deadline, struct err *e)
{
	char host[256] = "?";
	struct msg_hello h = {
		.version_min = MSG_VERSION,
		.version_max = MSG_VERSION,
		.channel = (uint8_t)c->kind,
		.index = index,
		.software = msg_string("godwit " GODWIT_VERSION),
	};

	gethostname(host, sizeof(host) - 1);
	text_clean(host);
	h.host = msg_string(host);
	memcpy(h.token, token, MSG_ID_LEN);
	return channel_send(c, MSG_HELLO, &h, deadline, e);
}

int channel_hello(struct channel *c, uint8_t index, const uint8_t token[static MSG_ID_LEN],
	struct msg_hello *ret_hello, uint64_t deadline, struct err *e)
{
	struct msg m = MSG_INIT;
	int r = 0;

	if (c->is_source)
		r = send_hello(c, index, token, deadline, e);
	if (r == 0)
		r = channel_expect(c, MSG_HELLO, &m, deadline, e);
	if (r < 0)
		return r;
	r = check_hello(c, &m.body.hello, e);
	if (r == 0 && !c->is_source) {
		c->kind = m.body.hello.channel;
		r = send_hello(c, m.body.hello.index, token, deadline, e);
	}
	if (ret_hello) {
		*ret_hello = m.body.hello;
		ret_hello->host = ret_hello->software = (struct msg_bytes){0};
	}
	msg_done(&m);
	return r;
}
