/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/recover.h"

#include "base/clock.h"
#include "base/fd.h"
#include "migrate/settle.h"
#include "net/address.h"
#include "net/floating.h"
#include "net/home.h"
#include "oci/cgroup.h"
#include "oci/runc.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define THAW_MS 60000
#define KILL_MS 30000

static int take_address_back(const struct journal_entry *j, struct err *e)
{
	_cleanup_close_ int announcer = -1;
	struct address a;
	int r;

	if (!j->address[0])
		return 0;
	r = address_parse(j->address, &a, e);
	/* VRRP's has not left, or not by us. */
	if (r < 0 || address_is_vrrp(&a))
		return r;
	r = address_add(&a);
	if (r < 0)
		return err_sys(e, -r, "adding %s", a.text);
	announcer = address_announcer(&a);
	if (announcer >= 0)
		address_announce(&a, announcer);
	return 0;
}

static int home_of(const struct journal_entry *j, struct home *ret, struct err *e)
{
	return home_init(ret, j->netns, j->network[0] ? j->network : NULL, e);
}

static int furnish_home(const struct journal_entry *j, struct err *e)
{
	struct home h = HOME_INIT;
	int r = home_of(j, &h, e);

	if (r == 0)
		r = home_open(&h, e);
	if (r == 0)
		r = home_furnish(&h, e);
	if (r == 0)
		home_announce(&h);
	home_done(&h);
	return r;
}

static int remove_home(const struct journal_entry *j, struct err *e)
{
	struct home h = HOME_INIT;
	int r = home_of(j, &h, e);

	/* One that isn't there, or isn't one yet, has no interface to delete. */
	if (r == 0) {
		home_open(&h, NULL);
		r = home_remove(&h, e);
	}
	home_done(&h);
	return r;
}

static int recover_source(const struct journal_entry *j, struct err *e)
{
	int r = take_address_back(j, e);

	if (r == 0)
		r = furnish_home(j, e);
	if (r == 0 && j->cgroup[0]) {
		r = cgroup_thaw_for_good(j->cgroup, deadline_in_ms(THAW_MS));
		/* A container that has ended meanwhile needs nothing. */
		r = r < 0 && r != -ENOENT && r != -ENODEV ? err_sys(e, -r, "thawing %s", j->cgroup) : 0;
	}
	if (r == 0)
		runc_forget_checkpoint(j->container);
	return r;
}

/* Nothing that was restored has run. So what does run here under its name, with its network and address, somebody
 * has started by hand. */
static int recover_target(const struct journal_entry *j, enum recovery *ret, struct err *e)
{
	struct address a;
	int r;

	*ret = runc_is_started(j->container) ? RECOVERY_OTHER : RECOVERY_CLEARED;
	if (*ret == RECOVERY_OTHER)
		return 0;
	r = runc_delete(j->container, e);

	if (r == 0)
		r = remove_home(j, e);
	if (r < 0 || !j->address[0])
		return r;
	r = address_parse(j->address, &a, e);
	if (r < 0 || (address_is_vrrp(&a) && vrrp_state(&a.vrrp) == VRRP_MASTER))
		return r;
	r = address_remove(&a);
	if (r < 0)
		err_sys(e, -r, "removing %s", a.text);
	return r;
}

/* Where a VRRP instance owns the address. */
static int steer_vrrp(const struct journal_entry *j, int (*how)(struct floating *f, struct err *e), struct err *e)
{
	struct floating f;
	int r = floating_init(&f, j->address[0] ? j->address : NULL, e);

	if (r == 0)
		r = how(&f, e);
	floating_done(&f);
	return r;
}

/* The other host may answer for VRRP's address: this one must not, whoever has the container. */
static int give_away(struct floating *f, struct err *e)
{
	int r = floating_withdraw(f, e);

	return r < 0 ? r : floating_leave(&f->address, e);
}

/* The other host has it, so that the VRRP instance here may take part again. */
static int stand_by(const struct journal_entry *j, struct err *e)
{
	return steer_vrrp(j, floating_stand_by, e);
}

/* What is frozen here belongs to the other host, which has all of it. */
static int delete_source(const struct journal_entry *j, struct err *e)
{
	int r = j->cgroup[0] && !j->gone ? cgroup_kill(j->cgroup, deadline_in_ms(KILL_MS)) : 0;

	if (j->gone)
		return stand_by(j, e);
	if (r < 0 && r != -ENOENT && r != -ENODEV)
		return err_sys(e, -r, "ending the processes of %s", j->cgroup);
	r = runc_delete(j->container, e);
	if (r == 0)
		r = remove_home(j, e);
	return r < 0 ? r : stand_by(j, e);
}

static int recover_committed(const struct journal_entry *j, struct journal *claimed,
	const struct recovery_means *means, enum recovery *ret, struct err *e)
{
	enum msg_state state;
	int r;

	*ret = RECOVERY_DOUBT;
	/* CRIU has gone: a person who settles a doubt finds a container like any other. */
	if (!j->gone)
		runc_forget_checkpoint(j->container);
	r = steer_vrrp(j, give_away, e);
	if (r < 0)
		return r;
	if (!means || !means->config_dir)
		return err_set(e, ERR_REFUSED, EAGAIN, "the other host was not asked");
	r = settle_committed(claimed, means, &state, e);
	if (r < 0)
		return j->gone ? err_wrap(e, "%s; nothing of it is left", journal_gone_text(j->gone)) : r;
	*ret = state == STATE_UNKNOWN ? RECOVERY_HERE : RECOVERY_CLEARED;
	if (state == STATE_UNKNOWN && j->gone) {
		*ret = RECOVERY_GONE;
		return stand_by(j, e);
	}
	if (state != STATE_UNKNOWN)
		return delete_source(j, e);
	r = recover_source(j, e);
	return r < 0 ? r : steer_vrrp(j, floating_prefer, e);
}

/* The target waits for a good-bye, and would for long. A failure to say it changes nothing here. */
static int finish_source(const struct journal_entry *j, struct journal *claimed,
	const struct recovery_means *means, struct err *e)
{
	struct err why = ERR_INIT;
	enum msg_state state;
	int r = delete_source(j, e);

	if (r == 0 && means && means->config_dir)
		settle_committed(claimed, means, &state, &why);
	return r;
}

/* What its directory has is frozen here, or has ended. */
static int finish_kept(const struct journal_entry *j, enum recovery *ret, struct err *e)
{
	bool other = !j->gone && runc_is_started(j->container) && !cgroup_is_frozen(j->cgroup);

	*ret = other ? RECOVERY_OTHER : RECOVERY_CLEARED;
	return other ? 0 : delete_source(j, e);
}

static int recover_claimed(const struct journal_entry *j, struct journal *claimed,
	const struct recovery_means *means, enum recovery *ret, struct err *e)
{
	bool source = strcmp(j->role, "source") == 0;

	if (strcmp(j->step, source ? "committed" : "owner") == 0) {
		if (source)
			return recover_committed(j, claimed, means, ret, e);
		*ret = RECOVERY_DOUBT;
		return err_set(e, ERR_LOCAL, ENOTRECOVERABLE, "it was handed over to this host, and %s",
			j->gone ? "ended when that was rebooted" : "the process that held its memory is gone");
	}
	*ret = RECOVERY_CLEARED;
	if (source && strcmp(j->step, "drained") == 0)
		return finish_source(j, claimed, means, e);
	if (source && strcmp(j->step, "kept") == 0)
		return finish_kept(j, ret, e);
	if (j->gone) {
		*ret = source ? RECOVERY_GONE : RECOVERY_CLEARED;
		return 0;
	}
	if (!source)
		return recover_target(j, ret, e);
	*ret = RECOVERY_HERE;
	return recover_source(j, e);
}

int recover_entry(struct journal_entry *j, const struct recovery_means *means, enum recovery *ret,
	struct err *e)
{
	struct journal claimed;
	int r = journal_claim(j, &claimed);

	*ret = r == -EALREADY ? RECOVERY_RUNS : RECOVERY_BUSY;
	if (r == -EALREADY || r == -EBUSY || r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "taking over %s", j->path);
	r = recover_claimed(j, &claimed, means, ret, e);
	if (r == 0)
		journal_end(&claimed);
	/* A doubt is an answer, too. */
	return *ret == RECOVERY_DOUBT ? 0 : r;
}
