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

/* "  0: 6400000A:6590 00000000:0000 07 ... uid timeout inode": proc_net(5). */
static bool parse_line(const char *line, uint8_t protocol, uint8_t family, struct listener *ret,
	uint64_t *ret_inode)
{
	char address[33];
	unsigned port, state;

	*ret = (struct listener){.protocol = protocol, .family = family};
	if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*d %*d %" SCNu64, address, &port,
		    &state, ret_inode) != 4)
		return false;
	ret->port = (uint16_t)port;
	parse_address(address, family, ret->address);
	return protocol == IPPROTO_UDP || state == TCP_LISTENING;
}

static size_t read_table(const char *path, uint8_t protocol, uint8_t family,
	const struct inodes *only, struct listener *ret, size_t max)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	size_t n = 0;

	if (file_read(path, PROC_MAX, &text, NULL) < 0)
		return 0;
	for (char *l = strtok_r(text, "\n", &save); l && n < max; l = strtok_r(NULL, "\n", &save)) {
		uint64_t inode;

		if (parse_line(l, protocol, family, &ret[n], &inode) &&
			(!only || has_inode(only, inode)))
			n++;
	}
	return n;
}

size_t listeners_read(const pid_t *pids, size_t n, struct listener *ret, size_t max)
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

	if (n && !inodes)
		return 0;
	for (size_t i = 0; i < n; i++)
		read_inodes(pids[i], inodes);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%d/net/%s", n ? pids[0] : getpid(),
			tables[i].name);
		count += read_table(path, tables[i].protocol, tables[i].family, inodes, ret + count,
			max - count);
	}
	free(inodes);
	return count;
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
