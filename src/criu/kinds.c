/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/kinds.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* criu/include/magic.h */
#define IMG_COMMON_MAGIC 0x54564319u
#define INVENTORY_MAGIC 0x58313116u

#define DIGITS_MAX 16

enum number { NONE, DECIMAL, HEX };

/* criu/image-desc.c and criu/include/magic.h of CRIU 4.2. Magic 0: what follows is another program's. */
static const struct kind {
	const char *before;
	enum number number;
	const char *after;
	uint32_t magic;
	bool network;
} kinds[] = {
	{"apparmor", NONE, ".img", 0x59423047u, false},
	{"bpfmap-data", NONE, ".img", 0x64324033u, false},
	{"bpfmap-file", NONE, ".img", 0x57506142u, false},
	{"cgroup", NONE, ".img", 0x59383330u, false},
	{"core-", DECIMAL, ".img", 0x55053847u, false},
	{"cpuinfo", NONE, ".img", 0x61404013u, false},
	{"creds-", DECIMAL, ".img", 0x54023547u, false},
	{"eventfd", NONE, ".img", 0x44523722u, false},
	{"eventpoll", NONE, ".img", 0x45023858u, false},
	{"eventpoll-tfd", NONE, ".img", 0x44433746u, false},
	{"ext-files", NONE, ".img", 0x59255641u, false},
	{"fanotify", NONE, ".img", 0x55096122u, false},
	{"fanotify-mark", NONE, ".img", 0x56506035u, false},
	{"fdinfo-", DECIMAL, ".img", 0x56213732u, false},
	{"fifo", NONE, ".img", 0x58364939u, false},
	{"fifo-data", NONE, ".img", 0x59333054u, false},
	{"filelocks", NONE, ".img", 0x54323616u, false},
	{"files", NONE, ".img", 0x56303138u, false},
	{"fs-", DECIMAL, ".img", 0x51403912u, false},
	{"ghost-file-", HEX, ".img", 0x52583605u, false},
	{"ids-", DECIMAL, ".img", 0x54432030u, false},
	{"ifaddr-", DECIMAL, ".img", 0, true},
	{"inetsk", NONE, ".img", 0x56443851u, false},
	{"inotify", NONE, ".img", 0x48424431u, false},
	{"inotify-wd", NONE, ".img", 0x54562009u, false},
	{"inventory", NONE, ".img", 0x58313116u, false},
	{"ip6tables-", DECIMAL, ".img", 0, true},
	{"ipcns-msg-", DECIMAL, ".img", 0x55453737u, false},
	{"ipcns-sem-", DECIMAL, ".img", 0x59573019u, false},
	{"ipcns-shm-", DECIMAL, ".img", 0x46283044u, false},
	{"ipcns-var-", DECIMAL, ".img", 0x53115007u, false},
	{"iptables-", DECIMAL, ".img", 0, true},
	{"itimers-", DECIMAL, ".img", 0x57464056u, false},
	{"memfd", NONE, ".img", 0x48453499u, false},
	{"mm-", DECIMAL, ".img", 0x57492820u, false},
	{"mountpoints-", DECIMAL, ".img", 0x55563928u, false},
	{"netdev-", DECIMAL, ".img", 0x57373951u, true},
	{"netlinksk", NONE, ".img", 0x58005614u, false},
	/* Of a namespace that is named by its path, too; what is in one has images of its own. */
	{"netns-", DECIMAL, ".img", 0x55933752u, false},
	{"netns-ct-", DECIMAL, ".img", 0, true},
	{"netns-exp-", DECIMAL, ".img", 0, true},
	{"nftables-", DECIMAL, ".img", 0, true},
	{"ns-files", NONE, ".img", 0x61394011u, false},
	{"packetsk", NONE, ".img", 0x60454618u, false},
	{"pagemap-", DECIMAL, ".img", 0x56084025u, false},
	{"pagemap-shmem-", DECIMAL, ".img", 0x56084025u, false},
	{"pages-", DECIMAL, ".img", 0, false},
	{"pidfd", NONE, ".img", 0x54435556u, false},
	{"pidns-", DECIMAL, ".img", 0x61157326u, false},
	{"pipes", NONE, ".img", 0x56513555u, false},
	{"pipes-data", NONE, ".img", 0x56453709u, false},
	{"posix-timers-", DECIMAL, ".img", 0x52603957u, false},
	{"pstree", NONE, ".img", 0x50273030u, false},
	{"reg-files", NONE, ".img", 0x50363636u, false},
	{"remap-fpath", NONE, ".img", 0x59133954u, false},
	{"rlimit-", DECIMAL, ".img", 0x57113925u, false},
	{"route-", DECIMAL, ".img", 0, true},
	{"route6-", DECIMAL, ".img", 0, true},
	{"rule-", DECIMAL, ".img", 0, true},
	{"seccomp", NONE, ".img", 0x64413049u, false},
	{"signal-p-", DECIMAL, ".img", 0x59255647u, false},
	{"signal-s-", DECIMAL, ".img", 0x59255647u, false},
	{"signalfd", NONE, ".img", 0x57323820u, false},
	{"sk-queues", NONE, ".img", 0x56264026u, false},
	{"tcp-stream-", HEX, ".img", 0x51465506u, false},
	{"timens-", DECIMAL, ".img", 0x43114433u, false},
	{"timerfd", NONE, ".img", 0x50493712u, false},
	{"tmpfs-", DECIMAL, ".tar.gz.img", 0, false},
	{"tmpfs-dev-", DECIMAL, ".tar.gz.img", 0, false},
	{"tty", NONE, ".img", 0x59433025u, false},
	{"tty-data", NONE, ".img", 0x59413026u, false},
	{"tty-info", NONE, ".img", 0x59453036u, false},
	{"unixsk", NONE, ".img", 0x54373943u, false},
	{"userns-", DECIMAL, ".img", 0x55474906u, false},
	{"utsns-", DECIMAL, ".img", 0x54473203u, false},
};

static bool matches(const struct kind *k, const char *name)
{
	static const char *const digits[] = {[DECIMAL] = "0123456789", [HEX] = "0123456789abcdef"};
	size_t before = strlen(k->before), n = 0;

	if (strncmp(name, k->before, before) != 0)
		return false;
	if (k->number != NONE) {
		n = strspn(name + before, digits[k->number]);
		if (n == 0 || n > DIGITS_MAX)
			return false;
	}
	return strcmp(name + before + n, k->after) == 0;
}

static const struct kind *find(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (matches(&kinds[i], name))
			return &kinds[i];
	return NULL;
}

enum image_verdict image_judge(const char *name, bool network)
{
	const struct kind *k = find(name);

	if (!k)
		return IMAGE_UNKNOWN;
	return k->network && !network ? IMAGE_OF_NETWORK : IMAGE_WELCOME;
}

/* All but the inventory begin with two numbers (criu/image.c). */
bool image_begins_well(const char *name, const void *data, size_t len)
{
	const struct kind *k = find(name);
	uint32_t expected[2];
	size_t n = 0, size;

	if (!k)
		return false;
	if (k->magic == 0)
		return true;
	if (k->magic != INVENTORY_MAGIC)
		expected[n++] = htole32(IMG_COMMON_MAGIC);
	expected[n++] = htole32(k->magic);
	size = n * sizeof(expected[0]);
	return len >= size && memcmp(expected, data, size) == 0;
}
