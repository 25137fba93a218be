/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/departure.h"

#include "base/clock.h"
#include "base/fd.h"
#include "net/netns.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DRAIN_MS 100	/* some ticks of most applications, which a busy host may not let run at once */
#define LOOK_MS 1	/* there is no event for an empty queue */
#define QUIET_MS 2	/* a neighbour has heard the announcement and sent what it was about to send */
#define TURN_MS 100	/* peers that take longer don't keep the others waiting */
#define LINGER_QUIET_MS 100
#define LINGER_MS 3000

/* As many packets as one HELD may have. */
struct parcel {
	struct msg_bytes v[WIRE_PACKETS_MAX];
	size_t n, len;
	struct departure *d;
	struct err *e;
	uint8_t bytes[MSG_DATA_MAX - 4 * WIRE_PACKETS_MAX];
};

int departure_init(struct departure *d, const struct container_facts *f, struct err *e)
{
	int r = floating_init(&d->floating, f->config.address, e);

	if (r == 0)
		r = home_init(&d->home, f->config.netns, f->config.network, e);
	if (r == 0)
		r = home_open(&d->home, e);
	if (d->floating.is_set)
		reached_add_address(&d->reached, &d->floating.address);
	if (d->home.is_set)
		home_reached(&d->home, &d->reached);
	for (size_t i = 0; i < f->n_listeners; i++)
		reached_add_port(&d->reached, f->listeners[i].port);
	return r;
}

static int make_hold(struct departure *d, struct err *e)
{
	_cleanup_netns_ int back = -1;
	int r = home_enter(&d->home, &back);

	return r < 0 ? err_sys(e, -r, "entering %s", d->home.path) : hold_new(&d->reached, &d->hold, e);
}

int departure_prepare(struct departure *d, struct report *report, struct err *e)
{
	struct err why = ERR_INIT;
	char text[ERR_TEXT_MAX + 64];

	int r = floating_lock(&d->floating, e);

	if (r < 0 || !departure_has_address(d))
		return r;
	d->parcel = calloc(1, sizeof(*d->parcel));
	d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!d->parcel || d->timer < 0)
		err_sys(&why, d->parcel ? errno : ENOMEM, "room for packets");
	else if (make_hold(d, &why) == 0)
		return 0;
	/* Two hosts have VRRP's for a while, of which one must be unseen. */
	if (address_is_vrrp(&d->floating.address)) {
		*e = why;
		return -why.code;
	}
	snprintf(text, sizeof(text), "packets that come meanwhile will be lost: %s", why.text);
	report_note(report, text);
	return 0;
}

int departure_guarded_fd(const struct departure *d)
{
	return d->hold && address_is_vrrp(&d->floating.address) ? hold_rules_fd(d->hold) : -1;
}

static int look(struct departure *d)
{
	_cleanup_netns_ int back = -1;
	int r = home_enter(&d->home, &back);

	return r < 0 ? r : sockets_look(&d->reached, &d->sockets);
}

/* Until nothing waits in the sockets any more, or the application doesn't take it. */
static int drain(struct departure *d, struct waiter *w, struct err *e)
{
	uint64_t deadline = deadline_in_ms(DRAIN_MS);

	while (look(d) == 0 &&
		d->sockets.datagram_bytes + d->sockets.accepting > 0 && !deadline_passed(deadline)) {
		int r = waiter_wait(w, -1, deadline_in_ms(LOOK_MS), e);

		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
	return 0;
}

int departure_hold(struct departure *d, struct waiter *w, struct err *e)
{
	int r;

	if (!d->hold)
		return 0;
	d->hold_at = clock_now();
	r = hold_start(d->hold, false);
	if (r < 0)
		return err_sys(e, -r, "holding packets to %s", d->reached.addresses[0].text);
	return drain(d, w, e);
}

int departure_release(struct departure *d, struct err *e)
{
	int r = d->hold ? hold_silence(d->hold) : 0;

	d->address_at = clock_now();
	if (r < 0)
		return err_sys(e, -r, "silencing %s", d->reached.addresses[0].text);
	r = floating_release(&d->floating, e);
	if (r == 0)
		r = home_vacate(&d->home, e);
	d->address_gone = clock_now();
	return r;
}

/* --- forwarding ------------------------------------------------------------------------------- */

static int send_parcel(struct parcel *p)
{
	struct departure *d = p->d;
	struct msg_held m = {.packets = {p->v, p->n}};
	size_t n = p->n;

	if (n == 0)
		return 0;
	p->n = p->len = 0;
	d->last_at = clock_now();
	*(d->running_at ? &d->forwarded : &d->held) += n;
	d->late += d->ended ? n : 0;
	return channel_send(d->control, MSG_HELD, &m, deadline_in_ms(CHANNEL_SILENCE_MS), p->e);
}

static int put_packet(void *ctx, const void *packet, size_t len)
{
	struct parcel *p = ctx;
	int r = 0;

	if (p->n == WIRE_PACKETS_MAX || len > sizeof(p->bytes) - p->len)
		r = send_parcel(p);
	memcpy(p->bytes + p->len, packet, len);
	p->v[p->n++] = (struct msg_bytes){p->bytes + p->len, len};
	p->len += len;
	return r;
}

static void arm_timer(struct departure *d)
{
	struct itimerspec in = {.it_value.tv_nsec = QUIET_MS * (long)NSEC_PER_MSEC};

	timerfd_settime(d->timer, 0, &in, NULL);
}

static int on_packets(void *ctx, struct err *e)
{
	struct departure *d = ctx;
	int r;

	d->parcel->d = d;
	d->parcel->e = e;
	r = hold_take(d->hold, put_packet, d->parcel);
	if (r < 0)
		return err_is_set(e) ? r : err_sys(e, -r, "reading held packets");
	if (r > 0 && d->running_at && clock_now() - d->running_at < TURN_MS * NSEC_PER_MSEC)
		arm_timer(d);
	return send_parcel(d->parcel);
}

int departure_forward(struct departure *d, struct waiter *w, struct channel *control, struct err *e)
{
	int r;

	d->control = control;
	if (!d->hold)
		return 0;
	d->waiter = w;
	r = on_packets(d, e);
	return r < 0 ? r : waiter_add(w, hold_fd(d->hold), on_packets, d);
}

static int send_end(struct departure *d, struct err *e)
{
	d->ended = true;
	return channel_send(d->control, MSG_HELD_END, NULL, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

static int on_quiet(void *ctx, struct err *e)
{
	int r = send_end(ctx, e);

	return r < 0 ? r : 1;
}

int departure_running(struct departure *d, struct err *e)
{
	int r;

	/* What fails here is seen in departure_leave(). */
	floating_withdraw(&d->floating, NULL);
	if (!d->hold)
		return departure_has_address(d) ? send_end(d, e) : 0;
	/* What came until now counts as held, what comes from now on as forwarded. */
	r = on_packets(d, e);
	d->running_at = clock_now();
	arm_timer(d);
	return r < 0 ? r : waiter_add(d->waiter, d->timer, on_quiet, d);
}

static void read_stats(struct departure *d)
{
	_cleanup_netns_ int back = -1;

	if (home_enter(&d->home, &back) == 0)
		d->stats = hold_stats(d->hold);
}

int departure_linger(struct departure *d, struct err *e)
{
	uint64_t latest = d->running_at + LINGER_MS * NSEC_PER_MSEC;

	while (d->hold) {
		uint64_t last = d->last_at > d->running_at ? d->last_at : d->running_at;
		uint64_t until = last + LINGER_QUIET_MS * NSEC_PER_MSEC;
		int r;

		if (deadline_passed(until) || deadline_passed(latest))
			break;
		r = waiter_wait(d->waiter, -1, until, e);
		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
	read_stats(d);
	return 0;
}

int departure_finish(struct departure *d, struct err *e)
{
	return home_remove(&d->home, e);
}

void departure_leave(struct departure *d, const struct msg_drained *told, struct report *report)
{
	struct err e = ERR_INIT;
	char track[64], text[ERR_TEXT_MAX + 64];
	int r;

	if (!address_is_vrrp(&d->floating.address))
		return;
	r = floating_leave(&d->floating.address, &e);
	if (r == 0 && told && told->took_over)
		r = floating_stand_by(&d->floating, &e);
	if (r < 0) {
		report_note(report, e.text);
	} else if (!told || !told->took_over) {
		vrrp_track_path(&d->floating.address.vrrp, track);
		snprintf(text, sizeof(text), "keepalived %s become MASTER there: so that it does not "
			"here, %s keeps it in FAULT; write 0 to it when that is %s",
			told ? "has not" : "may not have", track, told ? "mended" : "seen to");
		report_note(report, text);
	}
}

/* --- the way back ----------------------------------------------------------------------------- */

static void return_home(struct departure *d)
{
	if (home_furnish(&d->home, NULL) == 0)
		home_announce(&d->home);
}

void departure_revoke(struct departure *d)
{
	if (d->waiter) {
		waiter_remove(d->waiter, hold_fd(d->hold));
		waiter_remove(d->waiter, d->timer);
	}
	d->waiter = NULL;
	/* Before it runs: it answers at once what was held. */
	if (d->hold)
		hold_show(d->hold);
	floating_revoke(&d->floating);
	if (d->home.is_set)
		return_home(d);
}

static void tell_packets(struct hold_stats stats, struct report *report)
{
	char text[160];

	if (stats.late == 0 && stats.overflow == 0)
		return;
	snprintf(text, sizeof(text), "of the packets that were held here, others may have overtaken %" PRIu64 ", and %" PRIu64
		" were lost for want of room", stats.late, stats.overflow);
	report_note(report, text);
}

void departure_let_go(struct departure *d, struct report *report)
{
	_cleanup_netns_ int back = -1;

	if (!d->hold || home_enter(&d->home, &back) < 0)
		return;
	hold_end(d->hold);
	tell_packets(hold_stats(d->hold), report);
}

void departure_done(struct departure *d)
{
	hold_free(d->hold);
	free(d->parcel);
	fd_close(&d->timer);
	floating_done(&d->floating);
	home_done(&d->home);
}
