/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "net/network.h"

#include <stdbool.h>

/*
 * A container's own network on this host, during a move: a namespace with its interface, addresses and
 * routes. A container in its host's network has an empty one, with which everything here does nothing.
 */

struct home {
	struct network what;
	char path[256]; /* of the namespace */
	bool is_set, made;
	int ns;	    /* owned */
	int mounts; /* owned: the host's mount namespace, where the path is */
	int announcers[2]; /* owned: for IPv4, for IPv6 */
};

#define HOME_INIT ((struct home){.ns = -1, .mounts = -1, .announcers = {-1, -1}})

/* @path and @annotation: the container's; without the latter it is an empty one. This process is still
 * in the host's mount namespace. */
int home_init(struct home *h, const char *path, const char *annotation, struct err *e);

/* It is here already. */
int home_open(struct home *h, struct err *e);
/* It comes here: made, without addresses, apart from the host's network. */
int home_make(struct home *h, struct err *e);

/* Its addresses, as what is reached by them. */
void home_reached(const struct home *h, struct reached *ret);

/* This thread is in it until netns_leave(*ret_back). 0 or -errno. */
int home_enter(const struct home *h, int *ret_back);

/* It has its addresses and routes, also if it has some of them already; nobody is told. */
int home_furnish(const struct home *h, struct err *e);
/* It has no address any more. */
int home_vacate(const struct home *h, struct err *e);
/* It is part of the host's network. */
int home_join(const struct home *h, struct err *e);
/* Tells the segment once that its addresses are here; false when they aren't any more. */
bool home_announce(const struct home *h);

/* It is gone from this host. */
int home_remove(struct home *h, struct err *e);

void home_done(struct home *h);
