/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/arrival.h"

#include "base/clock.h"
#include "base/fd.h"
#include "net/inject.h"
#include "net/neighbour.h"
#include "net/netns.h"
#include "net/sockets.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define KEPT_MAX (64u << 20)
#define FIRST_AGAIN_MS 50 /* caches may have missed an announcement: after 50, 150, 350, 750 ms */
#define ANNOUNCEMENTS 5
#define PATIENCE 3	  /* announcements after which what came here waits no longer */
#define ANNOUNCE_MS 2000
#define MASTER_MS 5000 /* its advertisement interval is the longest that it waits for */

int arrival_init(struct arrival *a, const struct oci_config *c, const struct msg_list *listeners,
	struct err *e)
{
	const struct msg_listener *l = listeners->v;
	int r = floating_init(&a->floating, c->address, e);

	buf_init(&a->kept, KEPT_MAX);
	if (r == 0)
		r = home_init(&a->home, c->netns, c->network, e);
	if (a->floating.is_set)
		reached_add_address(&a->reached, &a->floating.address);
	if (a->home.is_set)
		home_reached(&a->home, &a->reached);
	for (size_t i = 0; i < listeners->n; i++)
		reached_add_port(&a->reached, l[i].port);
	return r;
}

static bool has_address(const struct arrival *a)
{
	return a->reached.n_addresses > 0;
}

int arrival_make_network(struct arrival *a, struct err *e)
{
	return home_make(&a->home, e);
}

/* In its home, in which the thread then is until *@back is closed. */
static int open_injectors(struct arrival *a, int *back, struct err *e)
{
	int r = home_enter(&a->home, back);

	for (size_t i = 0; i < a->reached.n_addresses && r >= 0; i++) {
		const struct address *to = &a->reached.addresses[i];
		int *fd = &a->injectors[to->family == AF_INET6];

		if (*fd < 0)
			r = *fd = injector_open(to);
	}
	return r < 0 ? err_sys(e, -r, "sockets for packets") : 0;
}

int arrival_prepare(struct arrival *a, struct err *e)
{
	_cleanup_netns_ int back = -1;
	int r = floating_lock(&a->floating, e);

	a->settled = !has_address(a);
	if (r < 0 || !has_address(a))
		return r;
	r = open_injectors(a, &back, e);
	if (r < 0)
		return r;
	a->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	a->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->timer < 0 || a->event < 0)
		return err_sys(e, errno, "events of packets");
	return hold_new(&a->reached, &a->hold, e);
}

int arrival_guarded_fd(const struct arrival *a)
{
	return a->hold ? hold_rules_fd(a->hold) : -1;
}

/* Then the source's host is not heard any more: whoever may be asked for the address answers. */
static int on_vrrp(void *ctx, struct err *e)
{
	struct arrival *a = ctx;

	vrrp_watched(a->floating.watch);
	if (!floating_is_mastered(&a->floating))
		return 0;
	hold_free(a->hold);
	a->hold = NULL;
	return err_set(e, ERR_PEER, EHOSTDOWN, "VRRP instance %s has become MASTER here meanwhile",
		a->floating.address.vrrp.name);
}

int arrival_take(struct arrival *a, struct waiter *w, struct err *e)
{
	int r = a->hold ? hold_start(a->hold, true) : 0;

	if (r < 0)
		return err_sys(e, -r, "holding packets to %s", a->reached.addresses[0].text);
	a->waiter = w;
	r = floating_take(&a->floating, e);
	if (r == 0)
		r = home_furnish(&a->home, e);
	if (r < 0 || a->floating.watch < 0)
		return r;
	r = on_vrrp(a, e);
	return r < 0 ? r : waiter_add(w, a->floating.watch, on_vrrp, a);
}

/* --- delivering ------------------------------------------------------------------------------- */

/* Which of the addresses a packet is for: NULL when it isn't valid. */
static const struct address *destination(const struct arrival *a, const void *packet, size_t len)
{
	for (size_t i = 0; i < a->reached.n_addresses; i++)
		if (inject_valid(&a->reached.addresses[i], packet, len))
			return &a->reached.addresses[i];
	return NULL;
}

static void deliver(struct arrival *a, const void *packet, size_t len)
{
	const struct address *to = destination(a, packet, len);

	if (to && a->resend)
		resend_heard(a->resend, packet, len);
	if (to && inject(a->injectors[to->family == AF_INET6], to, packet, len) == 0)
		a->delivered++;
	else
		a->overflow++;
}

void arrival_look(struct arrival *a, const pid_t *processes, size_t n)
{
	if (!has_address(a) || a->resend || resend_new(&a->resend) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		resend_look(a->resend, processes[i]);
}

static void resend_lacking(struct arrival *a)
{
	if (a->resend)
		resend_send(a->resend, a->injectors);
	resend_free(a->resend);
	a->resend = NULL;
}

static void wait_room(struct arrival *a, struct sockets_pace *pace)
{
	_cleanup_netns_ int back = -1;

	if (home_enter(&a->home, &back) == 0)
		sockets_wait_room(pace);
}

void arrival_deliver(struct arrival *a)
{
	struct cursor c = cursor_of(a->kept.data, a->kept.len);
	struct sockets_pace pace = sockets_pace(&a->reached);

	for (unsigned n = 1; c.left > 0; n++) {
		size_t len = cursor_u16(&c);

		deliver(a, cursor_take(&c, len), len);
		if (n % SOCKETS_BURST == 0)
			wait_room(a, &pace);
	}
	resend_lacking(a);
	buf_reset(&a->kept);
	a->running = true;
}

/* A network of its own that isn't joined yet has no neighbours. */
static void ask_for(struct arrival *a, const struct arrival_peer *p)
{
	_cleanup_netns_ int back = -1;

	if ((a->shown || !a->home.is_set) && home_enter(&a->home, &back) == 0)
		neighbour_ask(p->family, p->address);
}

/* Its answers come as soon as it runs. */
static void ask_for_sender(struct arrival *a, const struct msg_bytes *packet)
{
	const struct address *to = destination(a, packet->p, packet->len);
	struct arrival_peer p = {0};

	if (a->n_asked == ARRIVAL_PEERS || !to)
		return;
	p.family = to->family;
	memcpy(p.address, inject_sender(to, packet->p), to->family == AF_INET ? 4 : 16);
	for (size_t i = 0; i < a->n_asked; i++)
		if (memcmp(&a->asked[i], &p, sizeof(p)) == 0)
			return;
	a->asked[a->n_asked++] = p;
	ask_for(a, &p);
}

static void keep(struct arrival *a, const struct msg_bytes *packet)
{
	if (packet->len + 2 > KEPT_MAX - a->kept.len) {
		a->overflow++;
		return;
	}
	ask_for_sender(a, packet);
	buf_put_u16(&a->kept, (uint16_t)packet->len);
	buf_put(&a->kept, packet->p, packet->len);
}

static void settle(struct arrival *a)
{
	_cleanup_netns_ int back = -1;

	if (a->settled)
		return;
	if (a->hold && home_enter(&a->home, &back) == 0)
		hold_end(a->hold);
	a->settled = true;
}

int arrival_message(struct arrival *a, const struct msg *m, struct err *e)
{
	const struct msg_bytes *packets = m->body.held.packets.v;

	if (!has_address(a) || (m->type == MSG_HELD_END && !a->running))
		return err_set(e, ERR_PEER, EPROTO, "%s out of order", msg_name(m->type));
	if (m->type == MSG_HELD_END) {
		a->held_end = true;
		settle(a);
		eventfd_write(a->event, 1);
		return 0;
	}
	for (size_t i = 0; i < m->body.held.packets.n; i++)
		if (a->running)
			deliver(a, packets[i].p, packets[i].len);
		else
			keep(a, &packets[i]);
	return buf_check(&a->kept) < 0 ? err_sys(e, ENOMEM, "packets") : 0;
}

/* --- being seen ------------------------------------------------------------------------------- */

static void announce(struct arrival *a)
{
	uint64_t ns = FIRST_AGAIN_MS * NSEC_PER_MSEC << a->announcements;
	struct itimerspec in = {.it_value = {.tv_sec = (time_t)(ns / NSEC_PER_SEC),
					.tv_nsec = (long)(ns % NSEC_PER_SEC)}};

	if (!(a->home.is_set ? home_announce(&a->home) : floating_announce(&a->floating)))
		a->announcements = ANNOUNCEMENTS;
	else if (++a->announcements < ANNOUNCEMENTS)
		timerfd_settime(a->timer, 0, &in, NULL);
}

static int on_timer(void *ctx, struct err *e)
{
	struct arrival *a = ctx;
	uint64_t ticks;

	(void)e;
	if (read(a->timer, &ticks, sizeof(ticks)) != sizeof(ticks))
		return 0;
	announce(a);
	if (a->announcements > PATIENCE && a->running)
		settle(a);
	return a->announcements == ANNOUNCEMENTS;
}

/* Joined first: packets for it that the joining brings are held, and questions unanswered until the
 * rules allow it. */
static int show(struct arrival *a, struct err *e)
{
	int r = home_join(&a->home, e);

	if (r == 0 && a->hold && (r = hold_show(a->hold)) < 0)
		err_sys(e, -r, "answering for %s", a->reached.addresses[0].text);
	a->shown = r == 0;
	return r;
}

int arrival_show(struct arrival *a, struct err *e)
{
	int r = show(a, e);

	if (r < 0 || !has_address(a))
		return r;
	announce(a);
	a->announced_at = clock_now();
	for (size_t i = 0; a->home.is_set && i < a->n_asked; i++)
		ask_for(a, &a->asked[i]);
	waiter_remove(a->waiter, a->floating.watch);
	r = floating_prefer(&a->floating, e);
	return r < 0 ? r : waiter_add(a->waiter, a->timer, on_timer, a);
}

int arrival_take_over(struct arrival *a, struct err *e)
{
	uint64_t deadline = deadline_in_ms(MASTER_MS);
	int r = 0;

	while (r == 0 && !floating_is_mastered(&a->floating)) {
		r = waiter_wait(a->waiter, a->floating.watch, deadline, e);
		vrrp_watched(a->floating.watch);
	}
	if (r == -ETIMEDOUT && !err_is_set(e))
		return 0;
	return r < 0 ? r : 1;
}

/* Nothing but an error of another ends these waits badly. */
static int wait_for(struct arrival *a, int fd, struct err *e)
{
	int r = waiter_wait(a->waiter, fd, deadline_in_ms(ANNOUNCE_MS), e);

	return r == -ETIMEDOUT && !err_is_set(e) ? 0 : r;
}

int arrival_settle(struct arrival *a, struct err *e)
{
	int r = has_address(a) && !a->held_end ? wait_for(a, a->event, e) : 0;

	if (r == 0)
		settle(a);
	return r;
}

struct hold_stats arrival_stats(const struct arrival *a)
{
	_cleanup_netns_ int back = -1;

	return home_enter(&a->home, &back) == 0 ? hold_stats(a->hold) : (struct hold_stats){0};
}

int arrival_announce(struct arrival *a, struct err *e)
{
	int r = 0;

	while (r >= 0 && has_address(a) && a->announcements < ANNOUNCEMENTS) {
		r = wait_for(a, a->timer, e);
		if (r == 0)
			r = on_timer(a, e);
	}
	return r < 0 ? r : 0;
}

void arrival_renew(struct arrival *a)
{
	a->hold = NULL;
	a->injectors[0] = a->injectors[1] = a->timer = a->event = -1;
	a->home.ns = a->home.mounts = a->home.announcers[0] = a->home.announcers[1] = -1;
	a->floating.announcer = a->floating.watch = a->floating.lock = -1;
}

int arrival_go_on(struct arrival *a, struct waiter *w, struct err *e)
{
	_cleanup_netns_ int back = -1;
	int r = home_open(&a->home, e);

	a->waiter = w;
	a->settled = a->running = a->shown = a->held_end = true;
	a->announcements = ANNOUNCEMENTS;
	a->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r < 0 || !has_address(a))
		return r;
	r = open_injectors(a, &back, e);
	if (r == 0)
		r = floating_lock(&a->floating, e);
	if (r == 0)
		r = floating_watch(&a->floating, e);
	return r < 0 ? r : floating_prefer(&a->floating, e);
}

void arrival_revoke(struct arrival *a)
{
	if (a->waiter) {
		waiter_remove(a->waiter, a->timer);
		waiter_remove(a->waiter, a->floating.watch);
	}
	floating_revoke(&a->floating);
	if (a->home.made)
		home_remove(&a->home, NULL);
}

void arrival_done(struct arrival *a)
{
	hold_free(a->hold);
	resend_free(a->resend);
	buf_done(&a->kept);
	fd_close(&a->injectors[0]);
	fd_close(&a->injectors[1]);
	fd_close(&a->timer);
	fd_close(&a->event);
	floating_done(&a->floating);
	home_done(&a->home);
}
