/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net/network.h"

/*
 * The interface of a container's own network (rtnetlink(7), linux/if_link.h): made apart from the
 * network of its host, joined to it in one step.
 *
 * Until nic_join() nothing that is sent to its hardware address comes in: a veth's other end belongs to
 * no bridge, a macvlan has another hardware address.
 */

/* This thread is in the host's network: makes it in the namespace @ns. 0 or -errno. */
int nic_make(const struct network *n, int ns);

/* These, in the container's: */

/* It, and the loopback interface, are up. 0 or -errno. */
int nic_raise(const struct network *n);
/* It is gone, on the host as well; one that isn't there is fine. 0 or -errno. */
int nic_delete(const struct network *n);

/* From the host's: whoever is on its network reaches it from now on. 0 or -errno. */
int nic_join(const struct network *n, int ns);
