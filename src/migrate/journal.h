/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One small file a migration and host, rewritten and synced at each step that changes who owns the
 * container; gone when the migration has ended. What it says survives a crash of everything.
 */

#define JOURNAL_DIR "/var/lib/godwit/journal"
#define BOOT_LEN 36 /* of a boot id, as text */

/* Why nothing of a container can be left from when its entry began. */
enum journal_gone {
	GONE_NOT,
	GONE_REBOOTED, /* that was under another kernel */
	GONE_REPLACED, /* somebody has deleted it, a source's, and started another one of its name */
};

struct journal {
	char path[128];
	char id[33], container[256], peer[256];
	char address[128]; /* the floating address, or "" */
	char netns[256], network[1024]; /* of its own network: the path and what it is, or "" */
	char cgroup[4096]; /* of the container on its source, or "" */
	char key[64];	   /* the peer's, as fingerprint_format() says it; "" over ssh */
	char token[33];	   /* a target's: where its process takes connections */
	uint64_t cgroup_number; /* as cgroup_number(); 0 if not known */
	char boot[BOOT_LEN + 1]; /* of the kernel under which it began */
	enum journal_gone gone;
	bool source;
	pid_t pid; /* of who works on it */
	char step[16];
};

/* All but the first two may be NULL. */
struct journal_subject {
	const char *container, *peer, *address, *netns, *network, *cgroup, *key;
	const uint8_t *token; /* 16 bytes */
};

/*
 * A source's steps: "prepared", "frozen", "committed", "drained" (nothing of it is needed any more). A
 * target's: "prepared", "owner", "drained" (it needs nothing any more). A checkpoint is a source whose peer is
 * its directory, with the steps "prepared" and "kept" (that is whole, and the container to be ended). Each is
 * on disk when the function returns. What follows from each: migrate/recover.h.
 */
int journal_begin(struct journal *j, const uint8_t id[static 16], bool source,
	const struct journal_subject *what, struct err *e);
int journal_step(struct journal *j, const char *step, struct err *e);
/* Over: the file goes. */
void journal_end(struct journal *j);

/* Refuses when a migration of that container is under way here, or one that died is unsettled. */
int journal_check_free(const char *container, struct err *e);

struct journal_entry {
	char path[128];
	char id[33], container[256], peer[256], role[8], step[16];
	char address[128], netns[256], network[1024], cgroup[4096], key[64], token[33];
	char boot[BOOT_LEN + 1];
	pid_t pid;
	bool alive; /* its process still works on it */
	uint64_t cgroup_number;
	enum journal_gone gone;
};

/* "this host was rebooted", say; "" of GONE_NOT. */
const char *journal_gone_text(enum journal_gone gone);

/* The entry of that migration, for the source or the target: 0, -ENOENT, -errno. */
int journal_find(const uint8_t id[static 16], bool source, struct journal_entry *ret);

/*
 * Takes over what a process that died has left, for the calling process, until that ends: -EBUSY if another
 * one has, -EALREADY for a target's that only waits for a good-bye, -ENOENT if it is settled. *entry was
 * read a while ago; except after -ENOENT it is then as it is now: the dead process may have gone further.
 */
int journal_claim(struct journal_entry *entry, struct journal *ret);

/* All entries of this host; the caller frees *ret. What was written halfway by a process that died is
 * removed. */
int journal_list(struct journal_entry **ret, size_t *ret_n, struct err *e);
