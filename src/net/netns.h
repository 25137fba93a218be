/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Network namespaces by path, as 'ip netns add' makes them: a file to which the namespace is bound
 * (network_namespaces(7), ip-netns(8)).
 */

/* Makes a new one at a path that doesn't exist yet. 0 or -errno. */
int netns_make(const char *path);

/* A descriptor of one, the caller's, or -errno. */
int netns_open(const char *path);

/*
 * Removes the path in the mount namespace that @mounts is a descriptor of (-1: this process's). The
 * network goes when no process is in it any more. 0, also when there is none, or -errno.
 */
int netns_remove(const char *path, int mounts);

/*
 * This thread is in the namespace @ns until netns_leave(); sockets that it opens meanwhile belong there
 * for good. With @ns < 0 it stays where it is. 0 and *ret_back, or -errno.
 */
int netns_enter(int ns, int *ret_back);
/* Closes *back and sets it to -1; nothing for -1. */
void netns_leave(int *back);

#define _cleanup_netns_ __attribute__((cleanup(netns_leave)))
