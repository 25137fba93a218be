/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <net/if.h>
#include <stdint.h>

/*
 * A VRRP instance of keepalived on this host that owns a floating address and can be steered: it
 * tracks the file /run/vrrp-NAME.track with a weight, and its state is in /run/vrrp-NAME.state, where
 * the script of vrrp_notify_fifo_script puts it. examples/keepalived has both ends of it.
 */

enum vrrp_state { VRRP_UNKNOWN, VRRP_BACKUP, VRRP_MASTER, VRRP_FAULT };

/* What the track file says; keepalived multiplies it by the weight. */
enum vrrp_wish {
	VRRP_STANDBY = 0,      /* by its own priority */
	VRRP_PREFERRED = 1,    /* by more than that */
	VRRP_WITHDRAWN = -254, /* FAULT: it steps back at once, and says so to the others (priority 0) */
};

#define VRRP_NAME_MAX 32

struct vrrp {
	char name[VRRP_NAME_MAX]; /* "": there is none */
};

/* Letters, digits, "_" and "-". */
int vrrp_init(struct vrrp *v, const char *name);

enum vrrp_state vrrp_state(const struct vrrp *v);
const char *vrrp_state_name(enum vrrp_state state);

/* Can it be steered? 0 or -errno. */
int vrrp_steerable(const struct vrrp *v);
void vrrp_track_path(const struct vrrp *v, char ret[static 64]);

/* 0 or -errno. */
int vrrp_wish(const struct vrrp *v, enum vrrp_wish wish);

/* A descriptor that the caller owns: as long as it is open nobody else gets one. Or -ETIMEDOUT, -errno. */
int vrrp_lock(const struct vrrp *v, uint64_t deadline);

/* A descriptor that is readable when the state may have changed, the caller's; or -errno. */
int vrrp_watch(const struct vrrp *v);
/* Not readable any more, until the next change. */
void vrrp_watched(int fd);

/* 0, or -ETIMEDOUT, or -errno. */
int vrrp_wait(const struct vrrp *v, enum vrrp_state state, uint64_t deadline);
