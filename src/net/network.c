/* SPDX-License-Identifier: Apache-2.0 */
#include "net/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <netinet/ether.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024
#define MTU_MAX 65535

/* --- the annotation --------------------------------------------------------------------------- */

static int bad(const char *what, const char *word, struct err *e)
{
	err_set(e, ERR_REFUSED, EINVAL, "the annotation org.godwit.network: %s%s%s", what, word ? " " : "",
		word ? word : "");
	return err_remedy(e, "it wants \"veth INTERFACE BRIDGE|macvlan INTERFACE PARENT mac MAC [mtu BYTES] "
			     "address ADDRESS/PREFIX ... [route DESTINATION/PREFIX|default via ROUTER] "
			     "...\": godwit-migrate(1)");
}

static char *next_word(char **text)
{
	char *w;

	do
		w = strsep(text, " \t");
	while (w && !*w);
	return w;
}

static bool copy_name(const char *word, char ret[static IF_NAMESIZE])
{
	if (!word || strlen(word) >= IF_NAMESIZE || strchr(word, '/'))
		return false;
	snprintf(ret, IF_NAMESIZE, "%s", word);
	return true;
}

static int take_mac(struct network *n, char **text, struct err *e)
{
	const char *word = next_word(text);
	struct ether_addr mac;

	/* No group address (bit 0), and not nothing. */
	if (!word || !ether_aton_r(word, &mac) || (mac.ether_addr_octet[0] & 1u))
		return bad("no hardware address:", word, e);
	memcpy(n->mac, mac.ether_addr_octet, ETH_ALEN);
	return 0;
}

static int take_mtu(struct network *n, char **text, struct err *e)
{
	const char *word = next_word(text);
	char rest;

	if (!word || sscanf(word, "%5u%c", &n->mtu, &rest) != 1 || n->mtu == 0 || n->mtu > MTU_MAX)
		return bad("no number of bytes:", word, e);
	return 0;
}

static int take_address(struct network *n, char **text, struct err *e)
{
	const char *word = next_word(text);
	char whole[sizeof(n->addresses[0].text)];

	if (n->n_addresses == REACHED_ADDRESSES)
		return bad("too many addresses", NULL, e);
	if (!word || snprintf(whole, sizeof(whole), "%s dev %s", word, n->interface) >= (int)sizeof(whole) ||
		address_parse(whole, &n->addresses[n->n_addresses], NULL) < 0)
		return bad("no address:", word, e);
	n->n_addresses++;
	return 0;
}

static int parse_destination(const char *word, struct route_entry *r)
{
	char ip[INET6_ADDRSTRLEN], rest;
	unsigned prefix;

	if (strcmp(word, "default") == 0)
		return 0;
	if (sscanf(word, "%45[0-9a-fA-F.:]/%3u%c", ip, &prefix, &rest) != 2 ||
		prefix > (r->family == AF_INET ? 32 : 128) || inet_pton(r->family, ip, r->to) != 1)
		return -EINVAL;
	r->prefix = (uint8_t)prefix;
	return 0;
}

static int take_route(struct network *n, char **text, struct err *e)
{
	const char *to = next_word(text), *via = next_word(text), *router = next_word(text);
	struct route_entry *r = &n->routes[n->n_routes];

	if (n->n_routes == NETWORK_ROUTES)
		return bad("too many routes", NULL, e);
	if (!router || strcmp(via, "via") != 0)
		return bad("no route:", to, e);
	r->family = strchr(router, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(r->family, router, r->via) != 1)
		return bad("no router:", router, e);
	if (parse_destination(to, r) < 0)
		return bad("no destination:", to, e);
	n->n_routes++;
	return 0;
}

static int take_words(struct network *n, char *text, struct err *e)
{
	static const struct {
		const char *word;
		int (*take)(struct network *n, char **text, struct err *e);
	} words[] = {{"mac", take_mac}, {"mtu", take_mtu}, {"address", take_address}, {"route", take_route}};
	const char *w;

	while ((w = next_word(&text))) {
		size_t i = 0;
		int r;

		while (i < sizeof(words) / sizeof(words[0]) && strcmp(w, words[i].word) != 0)
			i++;
		if (i == sizeof(words) / sizeof(words[0]))
			return bad("an unknown word:", w, e);
		r = words[i].take(n, &text, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int network_parse(const char *annotation, struct network *ret, struct err *e)
{
	static const uint8_t none[ETH_ALEN];
	char copy[TEXT_MAX], *text = copy;
	const char *kind;
	int r;

	*ret = (struct network){0};
	if (snprintf(copy, sizeof(copy), "%s", annotation) >= (int)sizeof(copy))
		return bad("too long", NULL, e);
	kind = next_word(&text);
	if (!kind || (strcmp(kind, "veth") != 0 && strcmp(kind, "macvlan") != 0))
		return bad("neither veth nor macvlan:", kind, e);
	ret->kind = strcmp(kind, "veth") == 0 ? NETWORK_VETH : NETWORK_MACVLAN;
	if (!copy_name(next_word(&text), ret->interface) || !copy_name(next_word(&text), ret->parent))
		return bad("no two names of interfaces", NULL, e);
	r = take_words(ret, text, e);
	if (r == 0 && memcmp(ret->mac, none, ETH_ALEN) == 0)
		r = bad("no mac", NULL, e);
	if (r == 0 && ret->n_addresses == 0)
		r = bad("no address", NULL, e);
	return r;
}

struct address network_link_local(const struct network *n)
{
	const uint8_t *m = n->mac;
	struct address a = {.family = AF_INET6, .prefix = 64,
		.bytes = {0xfe, 0x80, [8] = m[0] ^ 2u, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};

	memcpy(a.interface, n->interface, sizeof(a.interface));
	snprintf(a.text, sizeof(a.text), "the link's address of %s", n->interface);
	return a;
}

bool network_has_address(const struct network *n, uint8_t family, const void *bytes)
{
	for (size_t i = 0; i < n->n_addresses; i++)
		if (n->addresses[i].family == family &&
			memcmp(n->addresses[i].bytes, bytes, family == AF_INET ? 4 : 16) == 0)
			return true;
	return false;
}

/* --- what is there ---------------------------------------------------------------------------- */

static int differs(struct err *e, const char *what, const char *name)
{
	err_set(e, ERR_REFUSED, EINVAL, "its network %s %s, the annotation org.godwit.network says otherwise",
		what, name);
	return err_remedy(e, "mend one of them: only what the annotation says is there after a move");
}

static int compare_hardware(const struct network *n, const struct ifaddrs *i, struct err *e)
{
	const struct sockaddr_ll *l = (const struct sockaddr_ll *)i->ifa_addr;

	if (strcmp(i->ifa_name, n->interface) != 0)
		return differs(e, "has the interface", i->ifa_name);
	if (memcmp(l->sll_addr, n->mac, ETH_ALEN) != 0)
		return differs(e, "has another hardware address for", i->ifa_name);
	return 0;
}

static int compare_address(const struct network *n, const struct ifaddrs *i, struct err *e)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)i->ifa_addr;
	bool is_v4 = i->ifa_addr->sa_family == AF_INET;
	const void *bytes = is_v4 ? (const void *)&((const struct sockaddr_in *)i->ifa_addr)->sin_addr
				  : (const void *)&v6->sin6_addr;
	char text[INET6_ADDRSTRLEN];

	if (network_has_address(n, (uint8_t)i->ifa_addr->sa_family, bytes))
		return 0;
	if (!is_v4 && memcmp(network_link_local(n).bytes, bytes, 16) == 0)
		return 0;
	inet_ntop(i->ifa_addr->sa_family, bytes, text, sizeof(text));
	return differs(e, "has the address", text);
}

static int compare_interfaces(const struct network *n, const struct ifaddrs *list, struct err *e)
{
	int r = 0;

	for (const struct ifaddrs *i = list; i && r == 0; i = i->ifa_next) {
		if (!i->ifa_addr || strcmp(i->ifa_name, "lo") == 0)
			continue;
		if (i->ifa_addr->sa_family == AF_PACKET)
			r = compare_hardware(n, i, e);
		else if (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6)
			r = compare_address(n, i, e);
	}
	for (size_t i = 0; i < n->n_addresses && r == 0; i++)
		if (address_present(&n->addresses[i]) != 1)
			r = differs(e, "lacks", n->addresses[i].text);
	return r;
}

struct comparing {
	const struct network *n;
	char odd[INET6_ADDRSTRLEN]; /* a router that isn't in the annotation, or "" */
	size_t known;
};

static void compare_route(void *ctx, const struct route_entry *there)
{
	struct comparing *c = ctx;

	for (size_t i = 0; i < c->n->n_routes; i++) {
		const struct route_entry *r = &c->n->routes[i];

		if (r->family == there->family && r->prefix == there->prefix &&
			memcmp(r->to, there->to, 16) == 0 && memcmp(r->via, there->via, 16) == 0) {
			c->known++;
			return;
		}
	}
	inet_ntop(there->family, there->via, c->odd, sizeof(c->odd));
}

int network_compare(const struct network *n, struct err *e)
{
	struct comparing c = {.n = n};
	struct ifaddrs *list;
	int r;

	if (getifaddrs(&list) < 0)
		return err_sys(e, errno, "reading the container's network");
	r = compare_interfaces(n, list, e);
	freeifaddrs(list);
	if (r < 0)
		return r;
	r = route_each(compare_route, &c);
	if (r < 0)
		return err_sys(e, -r, "reading the container's routes");
	if (c.odd[0])
		return differs(e, "has a route via", c.odd);
	return c.known < c.n->n_routes ? differs(e, "lacks", "a route") : 0;
}
