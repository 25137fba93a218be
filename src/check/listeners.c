/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "check/check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROC_MAX (64u << 20)
#define INODES_MAX 65536
#define CONNECTIONS_MAX 65536
#define TCP_LISTENING 0x0a /* include/net/tcp_states.h */

struct inodes {
	uint64_t v[INODES_MAX];
	size_t n;
};

/* The socket inodes that a process holds. */
static void read_inodes(pid_t pid, struct inodes *ret)
{
	char path[300], target[64];
	struct dirent *entry;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && (entry = readdir(d)) && ret->n < INODES_MAX) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (sscanf(target, "socket:[%" SCNu64 "]", &ret->v[ret->n]) == 1)
			ret->n++;
	}
	if (d)
		closedir(d);
}

static bool has_inode(const struct inodes *l, uint64_t inode)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i] == inode)
			return true;
	return false;
}

/* An address in /proc/net is printed word by word, each in host byte order. */
static void parse_address(const char *hex, uint8_t family, uint8_t ret[static 16])
{
	for (size_t i = 0; i < (family == 4 ? 1 : 4); i++) {
		char word[9];
		uint32_t v;

		snprintf(word, sizeof(word), "%.8s", hex + i * 8);
		v = (uint32_t)strtoul(word, NULL, 16);
		memcpy(ret + i * 4, &v, 4);
	}
}

/* A line of a table: both ends of a socket. */
struct entry {
	struct listener here, there;
	unsigned state;
	uint64_t inode;
};

/* "  0: 6400000A:6590 00000000:0000 07 ... uid timeout inode": proc_net(5). */
static bool parse_line(const char *line, uint8_t protocol, uint8_t family, struct entry *ret)
{
	char here[33], there[33];
	unsigned ports[2];

	*ret = (struct entry){.here = {.protocol = protocol, .family = family},
		.there = {.protocol = protocol, .family = family}};
	if (sscanf(line, " %*d: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*s %*s %*s %*d %*d %" SCNu64, here,
		    &ports[0], there, &ports[1], &ret->state, &ret->inode) != 6)
		return false;
	ret->here.port = (uint16_t)ports[0];
	ret->there.port = (uint16_t)ports[1];
	parse_address(here, family, ret->here.address);
	parse_address(there, family, ret->there.address);
	return true;
}

typedef bool entry_fn(const struct entry *e);

static bool is_listener(const struct entry *e)
{
	return e->here.protocol == IPPROTO_UDP || e->state == TCP_LISTENING;
}

/* One that has been closed here belongs to no process. */
static bool is_connection(const struct entry *e)
{
	return e->here.protocol == IPPROTO_TCP && e->state != TCP_LISTENING && e->inode != 0;
}

static size_t read_table(const char *path, uint8_t protocol, uint8_t family, const struct inodes *only,
	entry_fn *wanted, struct entry *ret, size_t max)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	size_t n = 0;

	if (file_read(path, PROC_MAX, &text, NULL) < 0)
		return 0;
	for (char *l = strtok_r(text, "\n", &save); l && n < max; l = strtok_r(NULL, "\n", &save))
		if (parse_line(l, protocol, family, &ret[n]) && wanted(&ret[n]) &&
			(!only || has_inode(only, ret[n].inode)))
			n++;
	return n;
}

/* Sockets of processes @pids, of all of the network namespace when @n is 0; *ret is freed by the
 * caller. */
static size_t read_entries(const pid_t *pids, size_t n, entry_fn *wanted, struct entry **ret, size_t max)
{
	struct inodes *inodes = n ? calloc(1, sizeof(*inodes)) : NULL;
	char path[64];
	size_t count = 0;
	static const struct {
		const char *name;
		uint8_t protocol, family;
	} tables[] = {
		{"tcp", IPPROTO_TCP, 4},
		{"tcp6", IPPROTO_TCP, 6},
		{"udp", IPPROTO_UDP, 4},
		{"udp6", IPPROTO_UDP, 6},
	};

	*ret = calloc(max, sizeof(**ret));
	if (*ret && (inodes || !n)) {
		for (size_t i = 0; i < n; i++)
			read_inodes(pids[i], inodes);
		for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
			snprintf(path, sizeof(path), "/proc/%d/net/%s", n ? pids[0] : getpid(),
				tables[i].name);
			count += read_table(path, tables[i].protocol, tables[i].family, inodes, wanted,
				*ret + count, max - count);
		}
	}
	free(inodes);
	return count;
}

size_t listeners_read(const pid_t *pids, size_t n, struct listener *ret, size_t max)
{
	struct entry *v;
	size_t count = read_entries(pids, n, is_listener, &v, max);

	for (size_t i = 0; i < count; i++)
		ret[i] = v[i].here;
	free(v);
	return count;
}

static bool is_same_end(const struct listener *a, const struct listener *b)
{
	return a->family == b->family && a->port == b->port &&
		memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

static bool has_end(const struct entry *v, size_t n, const struct listener *end)
{
	for (size_t i = 0; i < n; i++)
		if (is_same_end(&v[i].here, end))
			return true;
	return false;
}

/* A socket of IPv6 may have an address of IPv4 in its last four bytes, mapped. */
static bool is_at(const struct listener *l, const struct address *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t len = a->family == AF_INET ? 4 : 16;

	if (a->family == AF_INET && l->family == 6)
		return memcmp(l->address, mapped, sizeof(mapped)) == 0 &&
			memcmp(l->address + sizeof(mapped), a->bytes, len) == 0;
	return (l->family == 4) == (a->family == AF_INET) && memcmp(l->address, a->bytes, len) == 0;
}

size_t connections_that_stay(const pid_t *pids, size_t n, const struct address *moves)
{
	struct entry *v;
	size_t count = n ? read_entries(pids, n, is_connection, &v, CONNECTIONS_MAX) : 0, stay = 0;

	for (size_t i = 0; i < count; i++)
		stay += !(moves && is_at(&v[i].here, moves)) && !has_end(v, count, &v[i].there);
	if (n)
		free(v);
	return stay;
}

static bool is_any(const struct listener *l)
{
	static const uint8_t any[16];

	return memcmp(l->address, any, sizeof(any)) == 0;
}

bool listeners_collide(const struct listener *a, const struct listener *b)
{
	if (a->protocol != b->protocol || a->port != b->port)
		return false;
	if (is_any(a) || is_any(b))
		return a->family == b->family;
	return a->family == b->family && memcmp(a->address, b->address, sizeof(a->address)) == 0;
}
