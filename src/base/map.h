/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * A hash map from uint64_t to a pointer that is never NULL: open addressing, linear probing.
 * Entries are only added; what they point to belongs to the caller.
 */

struct map_entry {
	uint64_t key;
	void *value;
};

struct map {
	struct map_entry *v; /* owned; cap is a power of two or 0 */
	size_t n, cap;
};

#define MAP_INIT ((struct map){0})

void map_done(struct map *m);

/* The value at @key or NULL. */
void *map_get(const struct map *m, uint64_t key);

/* Adds an entry that is not there yet. 0 or -ENOMEM. */
int map_add(struct map *m, uint64_t key, void *value);

/* Walks all entries in no order: for (size_t i = 0; (e = map_next(m, &i));) */
struct map_entry *map_next(const struct map *m, size_t *i);
