/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/warm.h"

#include "base/clock.h"
#include "kernel/tcp.h"

#include <errno.h>

#define RTT_MIN_US 4000 /* below, ten round trips are less than what a freeze takes anyway */
#define WARM_MS 2000
#define IDLE_TRIPS 3 /* round trips in which a window that may grow does */
#define NAP_MS 1
#define PIECE (64u * 1024)
#define WINDOW_MAX (4u << 20) /* of images beyond, the window opens as they go */

static bool is_long(const struct tcp_info *i)
{
	return i->tcpi_rtt >= RTT_MIN_US;
}

/* TCP takes the window back when the first byte after a pause is sent, and shows the old one until then. */
static bool has_cooled(const struct tcp_info *i)
{
	return (uint64_t)i->tcpi_last_data_sent * 1000 >= i->tcpi_rto;
}

/* From the threshold on a window opens slowly: the link has shown what it can take. */
static bool is_narrow(const struct tcp_info *i, uint64_t bytes, const struct warmth *known)
{
	return (uint64_t)i->tcpi_snd_cwnd * i->tcpi_snd_mss < bytes && i->tcpi_snd_cwnd < i->tcpi_snd_ssthresh &&
		(known->most == 0 || i->tcpi_snd_cwnd < known->most);
}

/* A window that is no longer limited by what is sent, but by what the peer takes at once, say, stays as it is. */
struct growth {
	uint32_t cwnd;
	uint64_t since;
};

static bool has_stopped(struct growth *g, const struct tcp_info *i)
{
	if (g->since == 0 || has_cooled(i) || i->tcpi_snd_cwnd != g->cwnd)
		*g = (struct growth){i->tcpi_snd_cwnd, clock_now()};
	return clock_now() - g->since > IDLE_TRIPS * (uint64_t)i->tcpi_rtt * (NSEC_PER_MSEC / 1000);
}

static int send_pad(struct channel *c, struct err *e)
{
	static const uint8_t nothing[PIECE];
	const struct msg_pad m = {{nothing, sizeof(nothing)}};

	return channel_send_data(c, MSG_PAD, &m, &m.data, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

/* Only as much as goes out: what waits in the socket would be in the images' way. */
static int widen(struct channel *c, const struct tcp_info *i, struct waiter *w, struct err *e)
{
	int r;

	if (i->tcpi_notsent_bytes == 0 && transport_is_taken(c->transport))
		return send_pad(c, e);
	r = waiter_wait(w, -1, deadline_in_ms(NAP_MS), e);
	return r == -ETIMEDOUT && !err_is_set(e) ? 0 : r;
}

bool warm_is_long(const struct channel *c)
{
	struct tcp_info i;

	return tcp_look(transport_wire(c->transport), &i) && is_long(&i);
}

int warm_up(struct channel *c, uint64_t bytes, struct warmth *known, struct waiter *w, struct err *e)
{
	uint64_t deadline = deadline_in_ms(WARM_MS);
	int fd = transport_wire(c->transport), r = 0;
	struct growth growth = {0};
	struct tcp_info i;

	bytes = bytes < WINDOW_MAX ? bytes : WINDOW_MAX;
	while (r == 0 && tcp_look(fd, &i) && is_long(&i) && !deadline_passed(deadline) &&
		(has_cooled(&i) || is_narrow(&i, bytes, known))) {
		if (has_stopped(&growth, &i)) {
			known->most = i.tcpi_snd_cwnd;
			break;
		}
		r = widen(c, &i, w, e);
	}
	return r;
}
