/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/peers.h"

#include "base/buf.h"
#include "base/file.h"
#include "wire/identity.h"

#include <errno.h>
#include <fnmatch.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (1u << 20)

struct loading {
	struct peers *peers;
	struct err *e;
	char name[PEER_NAME_MAX + 1];
	char address[PEER_ADDRESS_MAX + 1];
};

void peers_done(struct peers *p)
{
	free(p->v);
	*p = PEERS_INIT;
}

static bool is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-");

	return n > 0 && n <= PEER_NAME_MAX && s[n] == '\0' && s[0] != '-' && s[0] != '.';
}

int peer_address_split(const char *address, char host[static 256], char port[static 6])
{
	const char *end = address + strlen(address), *colon = strrchr(address, ':');
	const char *first = address, *last = end;
	long number = PEER_PORT;

	if (*address == '[') {
		first = address + 1;
		last = strchr(address, ']');
		if (!last || (last[1] != '\0' && last + 1 != colon))
			return -EINVAL;
		if (last[1] == '\0')
			colon = NULL;
	} else if (colon && strchr(address, ':') == colon) {
		last = colon;
	} else {
		colon = NULL; /* none, or an IPv6 address without brackets */
	}
	if (colon) {
		char *rest;

		number = strtol(colon + 1, &rest, 10);
		if (rest == colon + 1 || *rest || number < 1 || number > 65535)
			return -EINVAL;
	}
	if (last == first || last - first > 255)
		return -EINVAL;
	for (const char *p = first; p < last; p++)
		if (strchr(" \t\r\n[];#=", *p))
			return -EINVAL;
	memcpy(host, first, (size_t)(last - first));
	host[last - first] = '\0';
	snprintf(port, 6, "%ld", number);
	return 0;
}

static int append(struct peers *p, const struct peer *peer, struct err *e)
{
	struct peer *bigger;

	if (p->n >= PEERS_MAX)
		return err_set(e, ERR_REFUSED, E2BIG, "more than %d peers", PEERS_MAX);
	bigger = realloc(p->v, (p->n + 1) * sizeof(*bigger));
	if (!bigger)
		return err_sys(e, ENOMEM, "list of peers");
	p->v = bigger;
	p->v[p->n++] = *peer;
	return 0;
}

static int make_peer(struct peer *ret, const char *name, const char *address,
	const char *fingerprint, struct err *e)
{
	char host[256], port[6];
	int r;

	*ret = (struct peer){0};
	if (!is_name(name)) {
		r = err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no name for a peer", name);
		err_remedy(e, "use 1 to 63 of a-z, 0-9, dot and hyphen");
		return r;
	}
	if (strlen(address) > PEER_ADDRESS_MAX || peer_address_split(address, host, port) < 0) {
		r = err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no address", address);
		err_remedy(e, "use HOST, HOST:PORT or [IPV6]:PORT");
		return r;
	}
	if (fingerprint_parse(fingerprint, ret->fingerprint) < 0) {
		r = err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no key fingerprint", fingerprint);
		err_remedy(e, "run 'godwit id' on the peer: it prints SHA256: and 43 characters");
		return r;
	}
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	snprintf(ret->address, sizeof(ret->address), "%s", address);
	ret->accept = true;
	strcpy(ret->containers, "*");
	return 0;
}

/* --- rights ----------------------------------------------------------------------------------- */

static int set_accept(struct peer *p, const char *value, struct err *e)
{
	p->accept = strcmp(value, "yes") == 0;
	if (p->accept || strcmp(value, "no") == 0)
		return 0;
	return err_set(e, ERR_USAGE, EINVAL, "peer \"%s\": accept is \"%s\", neither yes nor no",
		p->name, value);
}

static int set_containers(struct peer *p, const char *value, struct err *e)
{
	size_t n = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-"
				 "*?[]! ");

	if (value[n] || n > PEER_CONTAINERS_MAX || strspn(value, " ") == n) {
		err_set(e, ERR_USAGE, EINVAL, "peer \"%s\": \"%s\" are no names of containers", p->name,
			value);
		return err_remedy(e, "patterns of names, with * and ?, separated by spaces");
	}
	memcpy(p->containers, value, n + 1);
	return 0;
}

bool peer_may_send(const struct peer *p, const char *container)
{
	const char *at = p->containers;
	char pattern[PEER_CONTAINERS_MAX + 1];
	size_t n;

	for (; p->accept && *(at += strspn(at, " ")); at += n) {
		n = strcspn(at, " ");
		memcpy(pattern, at, n);
		pattern[n] = '\0';
		if (fnmatch(pattern, container, 0) == 0)
			return true;
	}
	return false;
}

/* --- the list --------------------------------------------------------------------------------- */

int peers_add(struct peers *p, const char *name, const char *address, const char *fingerprint,
	struct err *e)
{
	const struct peer *old = peers_by_name(p, name);
	struct peer peer;
	int r = make_peer(&peer, name, address, fingerprint, e);

	if (r < 0)
		return r;
	if (!old)
		return append(p, &peer, e);
	if (memcmp(old->fingerprint, peer.fingerprint, FINGERPRINT_LEN) != 0) {
		r = err_set(e, ERR_REFUSED, EEXIST, "peer %s is known with another key", name);
		err_remedy(e, "if its key really changed: godwit peer remove %s, then add it", name);
		return r;
	}
	snprintf(p->v[old - p->v].address, sizeof(peer.address), "%s", peer.address);
	return 0;
}

static struct peer *find(const struct peers *p, const char *name, struct err *e)
{
	const struct peer *old = peers_by_name(p, name);

	if (old)
		return &p->v[old - p->v];
	err_set(e, ERR_REFUSED, ENOENT, "no peer \"%s\"", name);
	err_remedy(e, "godwit peer list shows them");
	return NULL;
}

int peers_allow(struct peers *p, const char *name, const char *containers, struct err *e)
{
	struct peer *peer = find(p, name, e);
	int r = 0;

	if (!peer)
		return -ENOENT;
	if (containers)
		r = set_containers(peer, containers, e);
	if (r == 0)
		peer->accept = containers;
	return r;
}

int peers_remove(struct peers *p, const char *name, struct err *e)
{
	struct peer *old = find(p, name, e);

	if (!old)
		return -ENOENT;
	memmove(old, old + 1, (size_t)(p->v + p->n - old - 1) * sizeof(*old));
	p->n--;
	return 0;
}

/* --- the file --------------------------------------------------------------------------------- */

static int add_peer(struct loading *l, const char *name, const char *fingerprint)
{
	struct peer peer;
	int r;

	if (peers_by_name(l->peers, name))
		return err_set(l->e, ERR_USAGE, EEXIST, "peer \"%s\" stands there twice", name);
	r = make_peer(&peer, name, l->address, fingerprint, l->e);
	return r < 0 ? r : append(l->peers, &peer, l->e);
}

/* The last one of the list, if that is @section. */
static struct peer *current(struct peers *p, const char *section)
{
	struct peer *last = p->n > 0 ? &p->v[p->n - 1] : NULL;

	return last && strcmp(last->name, section) == 0 ? last : NULL;
}

/* inih calls this for every "key = value"; 0 ends it as an error at that line. The address comes
 * before the fingerprint, and what the peer may do after that, as peers_save() writes them. */
static int on_line(void *arg, const char *section, const char *key, const char *value)
{
	struct loading *l = arg;
	struct peer *peer = current(l->peers, section);

	if (strcmp(key, "address") == 0 && !peer) {
		snprintf(l->name, sizeof(l->name), "%s", section);
		snprintf(l->address, sizeof(l->address), "%s", value);
		return 1;
	}
	if (strcmp(key, "fingerprint") == 0 && strcmp(l->name, section) == 0)
		return add_peer(l, section, value) == 0;
	if (strcmp(key, "accept") == 0 && peer)
		return set_accept(peer, value, l->e) == 0;
	if (strcmp(key, "containers") == 0 && peer)
		return set_containers(peer, value, l->e) == 0;
	err_set(l->e, ERR_USAGE, EINVAL, "peer \"%s\": unexpected \"%s\"", section, key);
	err_remedy(l->e, "a section has address, fingerprint, and maybe accept and containers");
	return 0;
}

int peers_load(const char *dir, struct peers *ret, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];
	struct loading l = {.peers = ret, .e = e};
	int r;

	*ret = PEERS_INIT;
	snprintf(path, sizeof(path), "%s/peers", dir);
	r = file_read(path, FILE_MAX_BYTES, &text, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, -r, "reading %s", path);
	r = ini_parse_string(text, on_line, &l);
	if (r == 0)
		return 0;
	peers_done(ret);
	if (!err_is_set(e))
		err_set(e, ERR_USAGE, EINVAL, "not an INI file");
	return err_wrap(e, "%s line %d", path, r);
}

const struct peer *peers_by_name(const struct peers *p, const char *name)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->v[i].name, name) == 0)
			return &p->v[i];
	return NULL;
}

const struct peer *peers_by_key(
	const struct peers *p, const uint8_t fingerprint[static FINGERPRINT_LEN])
{
	for (size_t i = 0; i < p->n; i++)
		if (memcmp(p->v[i].fingerprint, fingerprint, FINGERPRINT_LEN) == 0)
			return &p->v[i];
	return NULL;
}

int peers_save(const char *dir, const struct peers *p, struct err *e)
{
	_cleanup_buf_ struct buf b;
	char path[PATH_MAX], text[FINGERPRINT_TEXT];
	int r;

	buf_init(&b, FILE_MAX_BYTES);
	buf_printf(&b, "# Hosts that this one trusts: godwit-peer(1) edits it.\n");
	for (size_t i = 0; i < p->n; i++) {
		fingerprint_format(p->v[i].fingerprint, text);
		buf_printf(&b, "\n[%s]\naddress = %s\nfingerprint = %s\naccept = %s\ncontainers = %s\n",
			p->v[i].name, p->v[i].address, text, p->v[i].accept ? "yes" : "no",
			p->v[i].containers);
	}
	snprintf(path, sizeof(path), "%s/peers", dir);
	r = buf_check(&b);
	if (r == 0)
		r = dir_make(dir, 0755);
	if (r == 0)
		r = file_write_atomic(path, b.data, b.len, 0600);
	return r < 0 ? err_sys(e, -r, "writing %s", path) : 0;
}
