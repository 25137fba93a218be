/* SPDX-License-Identifier: Apache-2.0 */
#include "net/home.h"

#include "base/fd.h"
#include "net/netns.h"
#include "net/nic.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int home_init(struct home *h, const char *path, const char *annotation, struct err *e)
{
	int r;

	*h = HOME_INIT;
	if (!annotation || !path)
		return 0;
	if (snprintf(h->path, sizeof(h->path), "%s", path) >= (int)sizeof(h->path))
		return err_set(e, ERR_REFUSED, ENAMETOOLONG, "network namespace %s", path);
	r = network_parse(annotation, &h->what, e);
	if (r < 0)
		return r;
	h->mounts = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (h->mounts < 0)
		return err_sys(e, errno, "this process's mount namespace");
	h->is_set = true;
	return 0;
}

void home_reached(const struct home *h, struct reached *ret)
{
	ret->own_network = true;
	for (size_t i = 0; i < h->what.n_addresses; i++)
		reached_add_address(ret, &h->what.addresses[i]);
}

int home_enter(const struct home *h, int *ret_back)
{
	return netns_enter(h->ns, ret_back);
}

static int open_announcers(struct home *h, struct err *e)
{
	_cleanup_netns_ int back = -1;
	int r = home_enter(h, &back);

	for (size_t i = 0; r == 0 && i < h->what.n_addresses; i++) {
		const struct address *a = &h->what.addresses[i];
		int *fd = &h->announcers[a->family == AF_INET6];

		if (*fd < 0)
			*fd = address_announcer(a);
		r = *fd < 0 ? *fd : 0;
	}
	return r < 0 ? err_sys(e, -r, "socket for announcements") : 0;
}

int home_open(struct home *h, struct err *e)
{
	if (!h->is_set)
		return 0;
	h->ns = netns_open(h->path);
	if (h->ns < 0)
		return err_sys(e, -h->ns, "network namespace %s", h->path);
	return open_announcers(h, e);
}

static int raise_interface(const struct home *h)
{
	_cleanup_netns_ int back = -1;
	int r = home_enter(h, &back);

	return r < 0 ? r : nic_raise(&h->what);
}

int home_make(struct home *h, struct err *e)
{
	int r;

	if (!h->is_set)
		return 0;
	r = netns_make(h->path);
	if (r < 0)
		return err_sys(e, -r, "making the network namespace %s", h->path);
	h->made = true;
	h->ns = netns_open(h->path);
	r = h->ns < 0 ? h->ns : nic_make(&h->what, h->ns);
	if (r == 0)
		r = raise_interface(h);
	if (r < 0)
		return err_sys(e, -r, "making %s by %s", h->what.interface, h->what.parent);
	return open_announcers(h, e);
}

/* --- addresses -------------------------------------------------------------------------------- */

static int furnish(const struct network *n)
{
	struct address link = network_link_local(n);
	int r = address_add(&link);

	for (size_t i = 0; r == 0 && i < n->n_addresses; i++)
		r = address_add(&n->addresses[i]);
	for (size_t i = 0; r == 0 && i < n->n_routes; i++)
		r = route_set(&n->routes[i], if_nametoindex(n->interface));
	return r;
}

static int vacate(const struct network *n)
{
	struct address link = network_link_local(n);
	int r = address_remove(&link);

	for (size_t i = 0; r == 0 && i < n->n_addresses; i++)
		r = address_remove(&n->addresses[i]);
	return r;
}

static int inside(const struct home *h, int (*f)(const struct network *n), const char *what, struct err *e)
{
	_cleanup_netns_ int back = -1;
	int r = h->is_set ? home_enter(h, &back) : 0;

	if (r == 0 && h->is_set)
		r = f(&h->what);
	return r < 0 ? err_sys(e, -r, "%s the container's network %s", what, h->path) : 0;
}

int home_furnish(const struct home *h, struct err *e)
{
	return inside(h, furnish, "addresses and routes of", e);
}

int home_vacate(const struct home *h, struct err *e)
{
	return inside(h, vacate, "emptying", e);
}

int home_join(const struct home *h, struct err *e)
{
	int r = h->is_set ? nic_join(&h->what, h->ns) : 0;

	return r < 0 ? err_sys(e, -r, "joining %s to %s", h->what.interface, h->what.parent) : 0;
}

bool home_announce(const struct home *h)
{
	_cleanup_netns_ int back = -1;
	bool here = h->is_set && home_enter(h, &back) == 0;

	for (size_t i = 0; here && i < h->what.n_addresses; i++) {
		const struct address *a = &h->what.addresses[i];

		here = address_present(a) == 1;
		if (here)
			address_announce(a, h->announcers[a->family == AF_INET6]);
	}
	return here;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The namespace lives on as long as some process has it; its interface doesn't. */
int home_remove(struct home *h, struct err *e)
{
	int r = 0;

	if (h->ns >= 0)
		r = inside(h, nic_delete, "deleting the interface of", e);
	if (r == 0 && h->is_set) {
		r = netns_remove(h->path, h->mounts);
		if (r < 0)
			err_sys(e, -r, "removing the network namespace %s", h->path);
	}
	h->made = false;
	return r;
}

void home_done(struct home *h)
{
	fd_close(&h->ns);
	fd_close(&h->mounts);
	fd_close(&h->announcers[0]);
	fd_close(&h->announcers[1]);
}
