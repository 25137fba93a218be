/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/peers.h"

#include "base/buf.h"
#include "base/file.h"
#include "wire/identity.h"

#include <errno.h>
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
	return 0;
}

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
	p->v[old - p->v] = peer;
	return 0;
}

int peers_remove(struct peers *p, const char *name, struct err *e)
{
	const struct peer *old = peers_by_name(p, name);
	size_t at;
	int r;

	if (!old) {
		r = err_set(e, ERR_REFUSED, ENOENT, "no peer \"%s\"", name);
		err_remedy(e, "godwit peer list shows them");
		return r;
	}
	at = (size_t)(old - p->v);
	memmove(&p->v[at], &p->v[at + 1], (p->n - at - 1) * sizeof(p->v[0]));
	p->n--;
	return 0;
}

/* inih calls this for every "key = value"; 0 ends it as an error at that line. The address comes
 * before the fingerprint, as peers_save() writes them. */
static int on_line(void *arg, const char *section, const char *key, const char *value)
{
	struct loading *l = arg;
	struct peer peer;

	if (strcmp(key, "address") == 0) {
		snprintf(l->name, sizeof(l->name), "%s", section);
		snprintf(l->address, sizeof(l->address), "%s", value);
		return 1;
	}
	if (strcmp(key, "fingerprint") != 0 || strcmp(l->name, section) != 0) {
		err_set(l->e, ERR_USAGE, EINVAL, "peer \"%s\": unexpected \"%s\"", section, key);
		err_remedy(l->e, "a section has an address and then a fingerprint");
		return 0;
	}
	if (peers_by_name(l->peers, section)) {
		err_set(l->e, ERR_USAGE, EEXIST, "peer \"%s\" stands there twice", section);
		return 0;
	}
	return make_peer(&peer, section, l->address, value, l->e) == 0 &&
		append(l->peers, &peer, l->e) == 0;
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
	buf_printf(&b, "# Hosts that this one trusts. godwit peer add|remove|list edits it.\n");
	for (size_t i = 0; i < p->n; i++) {
		fingerprint_format(p->v[i].fingerprint, text);
		buf_printf(&b, "\n[%s]\naddress = %s\nfingerprint = %s\n", p->v[i].name,
			p->v[i].address, text);
	}
	snprintf(path, sizeof(path), "%s/peers", dir);
	r = buf_check(&b);
	if (r == 0)
		r = dir_make(dir, 0755);
	if (r == 0)
		r = file_write_atomic(path, b.data, b.len, 0600);
	return r < 0 ? err_sys(e, -r, "writing %s", path) : 0;
}
