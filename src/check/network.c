/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "base/file.h"
#include "check/check.h"
#include "net/home.h"
#include "net/netns.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOW                                                                                        \
	"make one with 'ip netns add NAME', name /run/netns/NAME as its path in linux.namespaces and "  \
	"describe it by the annotation org.godwit.network: godwit-migrate(1)"

/* --- on the source ---------------------------------------------------------------------------- */

/* Interfaces of a process's network but for loopback: /proc/PID/net/dev has two lines of heading. */
static size_t count_interfaces(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/net/dev", pid);
	if (file_read(path, 1u << 20, &text, NULL) < 0)
		return 0;
	for (const char *p = text; (p = strchr(p, ':')); p++)
		n++;
	return n > 0 ? n - 1 : 0;
}

static bool is_ours(const struct container_facts *f, pid_t pid)
{
	for (size_t i = 0; i < f->n_pids; i++)
		if (f->pids[i] == pid)
			return true;
	return false;
}

/* A process in the same network that doesn't belong to the container, or 0. */
static pid_t find_other(const struct container_facts *f)
{
	struct stat its, there;
	struct dirent *entry;
	char path[300];
	pid_t found = 0;
	DIR *d;

	if (stat(f->config.netns, &its) < 0 || !(d = opendir("/proc")))
		return 0;
	while (!found && (entry = readdir(d))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		snprintf(path, sizeof(path), "/proc/%s/ns/net", entry->d_name);
		if (pid > 0 && stat(path, &there) == 0 && there.st_ino == its.st_ino && !is_ours(f, pid))
			found = pid;
	}
	closedir(d);
	return found;
}

static int compare(const struct home *h, struct err *e)
{
	_cleanup_netns_ int back = -1;
	int r = home_enter(h, &back);

	return r < 0 ? err_sys(e, -r, "entering %s", h->path) : network_compare(&h->what, e);
}

static const char *kind_name(const struct network *n)
{
	return n->kind == NETWORK_VETH ? "veth" : "macvlan";
}

static void check_described(const struct container_facts *f, struct verdicts *ret)
{
	struct home h = HOME_INIT;
	struct err e = ERR_INIT;
	pid_t other = find_other(f);
	int r = home_init(&h, f->config.netns, f->config.network, &e);

	if (r == 0)
		r = home_open(&h, &e);
	if (r == 0)
		r = compare(&h, &e);
	if (r < 0)
		verdict_error(ret, "network", &e);
	else if (other)
		verdict_add(ret, "network", CHECK_NO, "end it: what else is in that network would lose it",
			"process %d, which is not the container's, is in %s too", other, h.path);
	else
		verdict_add(ret, "network", CHECK_OK, NULL, "%s moves along: %s %s by %s, %zu addresses",
			h.path, kind_name(&h.what), h.what.interface, h.what.parent, h.what.n_addresses);
	home_done(&h);
}

void check_network(const struct container_facts *f, struct verdicts *ret)
{
	const struct oci_config *c = &f->config;

	if (!c->own_network && c->network)
		verdict_add(ret, "network", CHECK_NO, HOW,
			"the annotation org.godwit.network describes a network of its own, and it has none");
	else if (!c->own_network)
		return;
	else if (c->address)
		verdict_add(ret, "network", CHECK_NO, "put the address into org.godwit.network",
			"org.godwit.address is for containers in the network of their host");
	else if (c->netns && c->network)
		check_described(f, ret);
	else if (c->netns)
		verdict_add(ret, "network", CHECK_NO, HOW, "nothing says what the network %s needs", c->netns);
	else if (f->c.pid > 0 && count_interfaces(f->c.pid) > 0)
		verdict_add(ret, "network", CHECK_NO, HOW,
			"its network is one that runc made: its interfaces would be lost");
	else
		verdict_add(ret, "network", CHECK_OK, NULL, "its own, with nothing but loopback");
}

/* --- on the target ---------------------------------------------------------------------------- */

static bool is_bridge(const char *interface)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", interface);
	return access(path, F_OK) == 0;
}

/* A bridge that speaks the spanning tree protocol lets a new port wait for half a minute. */
static bool has_slow_ports(const char *bridge)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/net/%s/bridge/stp_state", bridge);
	return file_read(path, 64, &text, NULL) == 0 && text[0] != '0';
}

/* An address of it that this host has itself. */
static const struct address *find_taken(const struct network *n)
{
	struct if_nameindex *list = if_nameindex();
	const struct address *found = NULL;

	for (size_t i = 0; list && list[i].if_index && !found; i++)
		for (size_t k = 0; k < n->n_addresses && !found; k++) {
			struct address a = n->addresses[k];

			snprintf(a.interface, sizeof(a.interface), "%s", list[i].if_name);
			if (address_present(&a) == 1)
				found = &n->addresses[k];
		}
	if_freenameindex(list);
	return found;
}

static void check_parent(const struct network *n, struct verdicts *ret)
{
	struct address at = {0};

	memcpy(at.interface, n->parent, sizeof(at.interface));
	if (address_interface_up(&at) != 1)
		verdict_add(ret, "network", CHECK_NO, "create it or set it up: ip link set DEV up",
			"interface %s, which its network goes by, is missing or down", n->parent);
	else if (n->kind == NETWORK_VETH && !is_bridge(n->parent))
		verdict_add(ret, "network", CHECK_NO, "make a bridge of that name, as on the source",
			"%s is no bridge", n->parent);
	else if (n->kind == NETWORK_VETH && has_slow_ports(n->parent))
		verdict_add(ret, "network", CHECK_NO, "turn it off: ip link set DEV type bridge stp_state 0",
			"the bridge %s speaks the spanning tree protocol: a new port would be deaf for seconds",
			n->parent);
	else if (n->kind == NETWORK_MACVLAN && is_bridge(n->parent))
		verdict_add(ret, "network", CHECK_NO, "use veth, or a macvlan of a network card",
			"%s is a bridge: it would flood all hosts with what is for a macvlan", n->parent);
	else
		verdict_add(ret, "network", CHECK_OK, NULL, "%s %s can be made by %s", kind_name(n), n->interface,
			n->parent);
}

void check_new_network(const struct oci_config *c, struct verdicts *ret)
{
	const struct address *taken;
	struct err e = ERR_INIT;
	struct network n;

	if (!c->netns || !c->network)
		return;
	if (network_parse(c->network, &n, &e) < 0)
		verdict_error(ret, "network", &e);
	else if (access(c->netns, F_OK) == 0)
		verdict_add(ret, "network", CHECK_NO, "see what is in it, then 'ip netns delete' it",
			"there is a network namespace %s here already", c->netns);
	else if ((taken = find_taken(&n)))
		verdict_add(ret, "network", CHECK_NO, "remove it with 'ip addr del'",
			"this host has %s itself: two would answer for it", taken->text);
	else
		check_parent(&n, ret);
}
