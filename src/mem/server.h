/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "mem/pager.h"

#include <stdbool.h>

/*
 * The fault server: one thread on the target that answers page faults first, installs what waits
 * in the store next, and otherwise waits. What else it has to listen to, such as the urgent channel, is given
 * to it as watches, so that it knows nothing of sockets and protocols.
 */

#define SERVER_WATCHES_MAX 4

struct server_watch {
	int fd; /* polled for input; borrowed; -1: not used */
	/* Called in the thread when @fd is readable or hung up. Negative ends the server with
	 * that error; 1 says: don't watch this any more. */
	int (*ready)(void *ctx, struct err *e);
	void *ctx;
};

struct server_config {
	struct pager *pager;
	struct server_watch watches[SERVER_WATCHES_MAX];
	/* Asks for a page ahead of everything else; called in the thread. */
	int (*ask)(void *ctx, const struct pager_wish *wish, struct err *e);
	void *ask_ctx;
};

struct server;

/* Starts the thread, which the pager wakes from then on; @c is copied, what it points to must outlive the server. */
int server_start(const struct server_config *c, struct server **ret, struct err *e);

/* Readable when the pager is done or the server has failed. Owned by the server. */
int server_event_fd(const struct server *s);

/* Lets it give way to other processes on this host, as long as nothing runs that could fault. */
void server_give_way(struct server *s, bool on);

/* 0 while it works or after it has ended well, else its error. */
int server_result(struct server *s, struct err *e);

/* Ends the thread and frees. The pager stays. NULL is fine. */
void server_free(struct server *s);
