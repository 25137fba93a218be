/* SPDX-License-Identifier: Apache-2.0 */
#include "net/floating.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <poll.h>

#define LEAVE_MS 3000
#define LOCK_MS 5000
#define MASTER_MS 15000 /* three advertisements and more */

static bool is_vrrp(const struct floating *f)
{
	return f->is_set && address_is_vrrp(&f->address);
}

static int wish(const struct address *a, enum vrrp_wish wish, struct err *e)
{
	char path[64];
	int r = vrrp_wish(&a->vrrp, wish);

	if (r == 0)
		return 0;
	vrrp_track_path(&a->vrrp, path);
	return err_sys(e, -r, "steering VRRP instance %s by %s", a->vrrp.name, path);
}

int floating_init(struct floating *f, const char *annotation, struct err *e)
{
	int r;

	*f = FLOATING_INIT;
	if (!annotation)
		return 0;
	r = address_parse(annotation, &f->address, e);
	if (r < 0)
		return r;
	f->announcer = address_announcer(&f->address);
	if (f->announcer < 0)
		return err_sys(e, -f->announcer, "socket for announcements");
	f->is_set = true;
	return floating_watch(f, e);
}

int floating_watch(struct floating *f, struct err *e)
{
	if (!is_vrrp(f))
		return 0;
	f->watch = vrrp_watch(&f->address.vrrp);
	if (f->watch < 0)
		return err_sys(e, -f->watch, "watching VRRP instance %s", f->address.vrrp.name);
	return 0;
}

int floating_take(struct floating *f, struct err *e)
{
	int r;

	if (!f->is_set)
		return 0;
	f->change = FLOATING_TAKEN;
	r = address_add(&f->address);
	return r < 0 ? err_sys(e, -r, "adding %s", f->address.text) : 0;
}

int floating_release(struct floating *f, struct err *e)
{
	enum vrrp_state state;
	int r;

	if (is_vrrp(f)) {
		state = vrrp_state(&f->address.vrrp);
		return state == VRRP_MASTER ? 0
			: err_set(e, ERR_LOCAL, EADDRNOTAVAIL,
				  "VRRP instance %s is not MASTER here any more, but %s",
				  f->address.vrrp.name, vrrp_state_name(state));
	}
	if (!f->is_set)
		return 0;
	f->change = FLOATING_RELEASED;
	r = address_remove(&f->address);
	return r < 0 ? err_sys(e, -r, "removing %s", f->address.text) : 0;
}

bool floating_announce(struct floating *f)
{
	if (!f->is_set || address_present(&f->address) != 1)
		return false;
	address_announce(&f->address, f->announcer);
	return true;
}

/* A VRRP instance that has become master meanwhile has not been made so by us: then it is its. */
void floating_revoke(struct floating *f)
{
	if (is_vrrp(f) && f->change == FLOATING_TAKEN)
		wish(&f->address, VRRP_STANDBY, NULL);
	if (f->change == FLOATING_TAKEN && !(is_vrrp(f) && floating_is_mastered(f)))
		address_remove(&f->address);
	if (f->change == FLOATING_RELEASED && address_add(&f->address) == 0)
		floating_announce(f);
	f->change = FLOATING_AS_BEFORE;
}

/* --- VRRP's ----------------------------------------------------------------------------------- */

int floating_lock(struct floating *f, struct err *e)
{
	if (!is_vrrp(f))
		return 0;
	f->lock = vrrp_lock(&f->address.vrrp, deadline_in_ms(LOCK_MS));
	return f->lock < 0 ? err_sys(e, -f->lock, "another godwit moves VRRP instance %s", f->address.vrrp.name)
			   : 0;
}

int floating_prefer(struct floating *f, struct err *e)
{
	return is_vrrp(f) ? wish(&f->address, VRRP_PREFERRED, e) : 0;
}

bool floating_is_mastered(const struct floating *f)
{
	return !is_vrrp(f) || vrrp_state(&f->address.vrrp) == VRRP_MASTER;
}

int floating_become_master(struct floating *f, struct err *e)
{
	int r = floating_prefer(f, e);

	if (r < 0 || floating_is_mastered(f))
		return r;
	r = vrrp_wait(&f->address.vrrp, VRRP_MASTER, deadline_in_ms(MASTER_MS));
	return r < 0 ? err_sys(e, -r, "VRRP instance %s does not become MASTER", f->address.vrrp.name) : 0;
}

int floating_withdraw(struct floating *f, struct err *e)
{
	return is_vrrp(f) ? wish(&f->address, VRRP_WITHDRAWN, e) : 0;
}

/* keepalived tells its state when the address is gone. */
int floating_leave(const struct address *a, struct err *e)
{
	_cleanup_close_ int fd = address_is_vrrp(a) ? vrrp_watch(&a->vrrp) : -1;
	uint64_t deadline = deadline_in_ms(LEAVE_MS);
	int r = 0;

	if (!address_is_vrrp(a))
		return 0;
	while (r == 0 && fd >= 0 && address_present(a) == 1) {
		r = fd_wait(fd, POLLIN, deadline);
		vrrp_watched(fd);
	}
	r = address_remove(a);
	return r < 0 ? err_sys(e, -r, "removing %s", a->text) : 0;
}

int floating_stand_by(struct floating *f, struct err *e)
{
	return is_vrrp(f) ? wish(&f->address, VRRP_STANDBY, e) : 0;
}

void floating_done(struct floating *f)
{
	fd_close(&f->announcer);
	fd_close(&f->watch);
	fd_close(&f->lock);
}
