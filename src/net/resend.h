/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * What peers of restored TCP connections lack is sent to them once more as soon as the container runs.
 *
 * The kernel would do so, but only when its timer ends: of a restored connection it doesn't know how long
 * a round trip takes, so the timer is at 200 ms, or at 3 s on a host that has never had a connection to
 * that peer; and that a peer has got later data doesn't tell it that earlier data of those that were
 * restored are lost (TCPCB_REPAIRED and RACK, net/ipv4/tcp_recovery.c). What the network has lost just
 * before the freeze would then cost that much more than the freeze.
 *
 * So the target reads what isn't acknowledged while CRIU still has the connections in repair mode, takes
 * from the packets that were held meanwhile what peers have said since, and sends the rest itself. The
 * answers are the restored connection's, which goes on from there.
 */

struct resend;

/* 0 or -errno. */
int resend_new(struct resend **ret);
void resend_free(struct resend *r);

/* The connections of a process that CRIU is restoring. What can't be read is left to the kernel. */
void resend_look(struct resend *r, pid_t pid);

/* A packet that came meanwhile and that inject_valid() is true of. */
void resend_heard(struct resend *r, const void *packet, size_t len);

/* By @injectors (net/inject.h), for IPv4 and IPv6. How many segments were sent. */
unsigned resend_send(struct resend *r, const int injectors[static 2]);
