/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/pager.h"

#include <stdbool.h>

/*
 * The fault server: a loop that answers page faults first, installs what waits in the store next, and
 * otherwise waits. What else it has to listen to is given to it as watches.
 */

#define SERVER_WATCHES_MAX 32

struct server_watch {
	int fd; /* polled for input; borrowed; -1: not used */
	/* Of these only one is dealt with at a time, in turn: a fault waits for no more than that. */
	bool in_turn;
	/* @fd is readable or hung up. Negative ends the server with that error; 1: watch it no more. */
	int (*ready)(void *ctx, struct err *e);
	void *ctx;
};

/* All but the pager and ask() may be NULL. */
struct server_config {
	struct pager *pager;
	/* Asks for a page ahead of everything else. */
	void (*ask)(void *ctx, const struct pager_wish *wish);
	/* Called once: no view lacks anything. */
	void (*done)(void *ctx);
	/* About once a second. 1 ends the server. */
	int (*tick)(void *ctx, struct err *e);
	/* A view can't be served any more, or the like. Negative ends the server with that error. */
	int (*failed)(void *ctx, const struct err *e);
	void *ctx;
};

struct server;

/* The pager wakes it from now on; @c is copied, what it points to must outlive the server. */
int server_new(const struct server_config *c, struct server **ret, struct err *e);

/* Whoever watches calls this before server_run() or in it. */
void server_watch(struct server *s, size_t i, const struct server_watch *w);

/* Until server_stop(), tick() or an error ends it. */
int server_run(struct server *s, struct err *e);

/* From any thread: it ends after what it is at. */
void server_stop(struct server *s);

/* Not while it runs. The pager stays. NULL is fine. */
void server_free(struct server *s);
