/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>

void map_done(struct map *m)
{
	free(m->v);
	*m = MAP_INIT;
}

/* Finalizer of the 64-bit MurmurHash3: neighbouring keys end far apart. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

static struct map_entry *slot_of(struct map_entry *v, size_t cap, uint64_t key)
{
	size_t i = mix(key) & (cap - 1);

	while (v[i].value && v[i].key != key)
		i = (i + 1) & (cap - 1);
	return &v[i];
}

void *map_get(const struct map *m, uint64_t key)
{
	return m->cap ? slot_of(m->v, m->cap, key)->value : NULL;
}

static int grow(struct map *m)
{
	size_t cap = m->cap ? m->cap * 2 : 64;
	struct map_entry *v = calloc(cap, sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < m->cap; i++)
		if (m->v[i].value)
			*slot_of(v, cap, m->v[i].key) = m->v[i];
	free(m->v);
	m->v = v;
	m->cap = cap;
	return 0;
}

int map_add(struct map *m, uint64_t key, void *value)
{
	if (m->n >= m->cap / 2) {
		int r = grow(m);

		if (r < 0)
			return r;
	}
	*slot_of(m->v, m->cap, key) = (struct map_entry){key, value};
	m->n++;
	return 0;
}

struct map_entry *map_next(const struct map *m, size_t *i)
{
	while (*i < m->cap) {
		struct map_entry *e = &m->v[(*i)++];

		if (e->value)
			return e;
	}
	return NULL;
}
