/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "check/eager.h"
#include "mem/space.h"
#include "net/address.h"
#include "oci/config.h"
#include "oci/runc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Pre-flight checks: what can be known before anything happens. A verdict an item, each "no" with
 * its cause and what to do about it.
 */

enum check_level { CHECK_OK, CHECK_WARN, CHECK_NO };

struct verdict {
	char name[64];
	enum check_level level;
	char reason[768];
	char remedy[384];
};

#define VERDICTS_MAX 48

struct verdicts {
	struct verdict v[VERDICTS_MAX];
	size_t n;
};

__attribute__((format(printf, 5, 6))) void verdict_add(struct verdicts *l, const char *name,
	enum check_level level, const char *remedy, const char *fmt, ...);
/* Adds an error as a "no". */
void verdict_error(struct verdicts *l, const char *name, const struct err *e);
bool verdicts_allow(const struct verdicts *l);

/* A socket that waits for peers. */
struct listener {
	uint8_t protocol, family; /* IPPROTO_TCP or _UDP; 4 or 6 */
	uint16_t port;
	uint8_t address[16];
};

#define LISTENERS_MAX 256

/* A host, as far as it matters: the same facts are compared on both sides. */
struct host_facts {
	char arch[64], kernel[128], runc_version[64], criu_version[64];
	char cpu_features[8192]; /* flags of /proc/cpuinfo, separated by spaces */
};

void host_facts_read(struct host_facts *f);

/* A container on its source. */
struct container_facts {
	struct container c;
	char *config_text; /* owned */
	size_t config_len;
	struct oci_config config;
	pid_t *pids; /* owned */
	size_t n_pids;
	uint64_t memory_bytes; /* anonymous memory, resident */
	struct eager eager;
	bool has_file_locks;
	struct listener listeners[LISTENERS_MAX];
	size_t n_listeners;
};

#define CONTAINER_FACTS_INIT ((struct container_facts){0})

int container_facts_read(const char *id, struct container_facts *ret, struct err *e);
void container_facts_done(struct container_facts *f);

/* This host can take part at all: root, CRIU, runc, tar, userfaultfd, by trying. */
void check_host(const struct host_facts *f, struct verdicts *ret);

/* That container can be dumped, as far as can be seen from outside. */
void check_container(const struct container_facts *f, struct verdicts *ret);

/* Its network, when it has one of its own, can move; and, on a target, come. */
void check_network(const struct container_facts *f, struct verdicts *ret);
void check_new_network(const struct oci_config *c, struct verdicts *ret);

/* What a source offers to a target. */
struct offered {
	const char *id, *bundle;
	const char *config_text;
	size_t config_len;
	const uint8_t *rootfs_digest; /* 32 bytes */
	const char *arch, *cpu_features;
	uint32_t criu_version;
	uint64_t memory_bytes;
	const struct listener *listeners;
	size_t n_listeners;
	bool kept; /* in a directory: it runs nowhere now */
};

/* The target can take it. */
void check_offer(const struct offered *o, const struct host_facts *here, struct verdicts *ret);

/* Sockets that wait for peers, of processes @pids; all of the network namespace when @n is 0.
 * How many, at most @max. */
size_t listeners_read(const pid_t *pids, size_t n, struct listener *ret, size_t max);
/* How many TCP connections of processes @pids can't move: at this host they end neither at the address
 * that @moves (NULL: none does) nor at another of these processes. */
size_t connections_that_stay(const pid_t *pids, size_t n, const struct address *moves);
/* Would a socket bound to @b collide with @a? */
bool listeners_collide(const struct listener *a, const struct listener *b);
