/* SPDX-License-Identifier: Apache-2.0 */
#include "net/floating.h"

#include "base/fd.h"

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
	int r;

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

void floating_revoke(struct floating *f)
{
	if (f->change == FLOATING_TAKEN)
		address_remove(&f->address);
	if (f->change == FLOATING_RELEASED && address_add(&f->address) == 0)
		floating_announce(f);
	f->change = FLOATING_AS_BEFORE;
}

void floating_done(struct floating *f)
{
	fd_close(&f->announcer);
}
