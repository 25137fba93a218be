/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/images.h"

#include "base/file.h"
#include "criu/image_format.h"
#include "criu/mm_image.h"
#include "pagemap.pb-c.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGEMAP_MAGIC 0x56084025u /* criu/include/magic.h */
#define PE_LAZY 2u		  /* criu/include/pagemap.h */

#define IMAGE_MAX (256u << 20)
#define ENTRY_MAX 4096u
#define LOG_MAX (64u << 20)

struct entry {
	uint64_t start, end;
	bool lazy;
	const uint8_t *data; /* protobuf */
	uint32_t len;
};

static int parse_entry(const uint8_t *data, uint32_t len, struct entry *ret)
{
	GwPagemapEntry *m = gw_pagemap_entry__unpack(NULL, len, data);
	uint64_t pages;
	int r = 0;

	if (!m)
		return -EBADMSG;
	pages = m->has_nr_pages ? m->nr_pages : m->nr_pages_32;
	*ret = (struct entry){.start = m->vaddr, .lazy = m->has_flags && (m->flags & PE_LAZY),
		.data = data, .len = len};
	if (m->vaddr % PAGE_BYTES || pages == 0 || pages > BYTES_TO_PAGES(UINT64_MAX) ||
		__builtin_add_overflow(m->vaddr, PAGES_TO_BYTES(pages), &ret->end))
		r = -EBADMSG;
	gw_pagemap_entry__free_unpacked(m, NULL);
	return r;
}

/* At its first entry. What stands before it is the head, which names the file of the other pages. */
static int open_image(const void *data, size_t len, struct image_cursor *ret)
{
	const uint8_t *head;
	uint32_t n;
	int r = image_open(data, len, PAGEMAP_MAGIC, ret);

	return r < 0 ? r : image_message(ret, ENTRY_MAX, &head, &n);
}

/* 1, 0 behind the last, -EBADMSG. */
static int next_entry(struct image_cursor *c, struct entry *ret)
{
	const uint8_t *data;
	uint32_t n;
	int r;

	if (c->left == 0)
		return 0;
	r = image_message(c, ENTRY_MAX, &data, &n);
	if (r == 0)
		r = parse_entry(data, n, ret);
	return r < 0 ? r : 1;
}

/* Adds the pages that an image tells of, all or the lazy ones. */
static int collect(const void *data, size_t len, bool all, struct ranges *ret)
{
	struct image_cursor c;
	struct entry entry = {0};
	int r = open_image(data, len, &c);

	while (r == 0 && (r = next_entry(&c, &entry)) > 0)
		r = all || entry.lazy ? ranges_add(ret, entry.start, entry.end) : 0;
	return r;
}

int pagemap_image_parse(const void *data, size_t len, struct ranges *ret)
{
	return collect(data, len, false, ret);
}

static void put_lazy(struct buf *out, const struct range *r)
{
	GwPagemapEntry m = GW_PAGEMAP_ENTRY__INIT;
	uint8_t data[64];

	m.vaddr = r->start;
	m.nr_pages = BYTES_TO_PAGES(r->end - r->start);
	m.has_nr_pages = true;
	m.nr_pages_32 = (uint32_t)m.nr_pages; /* for older ones; only here can it be too small */
	m.flags = PE_LAZY;
	m.has_flags = true;
	image_put(out, data, gw_pagemap_entry__pack(&m, data));
}

/* CRIU reads the entries in ascending order only. @more has nothing of what the image has. */
static int merge(const void *data, size_t len, const struct ranges *more, struct buf *ret)
{
	struct image_cursor c;
	struct entry entry = {0};
	size_t next = 0;
	int r = open_image(data, len, &c);

	if (r < 0)
		return r;
	buf_put(ret, data, len - c.left);
	while ((r = next_entry(&c, &entry)) > 0) {
		for (; next < more->n && more->v[next].start < entry.start; next++)
			put_lazy(ret, &more->v[next]);
		image_put(ret, entry.data, entry.len);
	}
	for (; next < more->n; next++)
		put_lazy(ret, &more->v[next]);
	return r < 0 ? r : buf_check(ret);
}

int pagemap_image_add(const void *data, size_t len, const struct ranges *more, struct buf *ret)
{
	_cleanup_ranges_ struct ranges known = RANGES_INIT, rest = RANGES_INIT;
	int r = collect(data, len, true, &known);

	if (r == 0)
		r = ranges_difference(more, &known, &rest);
	return r < 0 ? r : merge(data, len, &rest, ret);
}

static void image_path(char ret[static PATH_MAX], const char *dir, uint32_t vpid)
{
	snprintf(ret, PATH_MAX, "%s/pagemap-%u.img", dir, vpid);
}

int images_add_lazy(const char *dir, uint32_t vpid, const struct ranges *more, struct err *e)
{
	_cleanup_free_ char *data = NULL;
	_cleanup_buf_ struct buf b;
	char path[PATH_MAX];
	size_t len;
	int r;

	image_path(path, dir, vpid);
	buf_init(&b, IMAGE_MAX);
	r = file_read(path, IMAGE_MAX, &data, &len);
	if (r == 0)
		r = pagemap_image_add(data, len, more, &b);
	if (r == 0)
		r = file_write_atomic(path, b.data, b.len, 0600);
	return r < 0 ? err_sys(e, -r, "adding pages to CRIU's image %s", path) : 0;
}

int images_lengthen(const char *dir, uint32_t vpid, const struct range *regions, size_t n, struct err *e)
{
	_cleanup_free_ char *data = NULL;
	_cleanup_buf_ struct buf b;
	char path[PATH_MAX];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/mm-%u.img", dir, vpid);
	buf_init(&b, IMAGE_MAX);
	r = file_read(path, IMAGE_MAX, &data, &len);
	if (r == 0)
		r = mm_image_lengthen(data, len, regions, n, &b);
	if (r == 0)
		r = file_write_atomic(path, b.data, b.len, 0600);
	return r < 0 ? err_sys(e, -r, "regions in CRIU's image %s", path) : 0;
}

int images_lazy_pages(const char *dir, uint32_t vpid, struct ranges *ret, struct err *e)
{
	_cleanup_free_ char *data = NULL;
	char path[PATH_MAX];
	size_t len;
	int r;

	image_path(path, dir, vpid);
	r = file_read(path, IMAGE_MAX, &data, &len);
	if (r == 0)
		r = pagemap_image_parse(data, len, ret);
	return r < 0 ? err_sys(e, -r, "CRIU's image %s", path) : 0;
}

static int compare_vpids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* 0 unless it is the pagemap of a process: pagemap-shmem-N.img is something else. */
static uint32_t vpid_of(const char *name)
{
	unsigned vpid;
	int end = 0;

	if (sscanf(name, "pagemap-%u.img%n", &vpid, &end) != 1 || end == 0 || name[end])
		return 0;
	return vpid;
}

int images_processes(const char *dir, uint32_t **ret, size_t *ret_n, struct err *e)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	uint32_t *v = NULL;
	size_t n = 0;

	if (!d)
		return err_sys(e, errno, "opening %s", dir);
	while ((entry = readdir(d))) {
		uint32_t *bigger, vpid = vpid_of(entry->d_name);

		if (!vpid)
			continue;
		bigger = realloc(v, (n + 1) * sizeof(*v));
		if (!bigger) {
			free(v);
			closedir(d);
			return err_sys(e, ENOMEM, "list of processes");
		}
		v = bigger;
		v[n++] = vpid;
	}
	closedir(d);
	if (n > 0)
		qsort(v, n, sizeof(*v), compare_vpids);
	*ret = v;
	*ret_n = n;
	return 0;
}

/* Of "(00.012345) 12: Error (criu/file.c:99): text" what follows the first ": Error". */
static const char *error_text(const char *line)
{
	const char *p = strstr(line, "Error (");

	if (!p)
		return NULL;
	p = strstr(p, "): ");
	return p ? p + strlen("): ") : NULL;
}

/* Which it gives after each failure; and what it says first of all where it may not raise its own limit of open files
 * (rlimit_unlimit_nofile() in its util.c), which it then does without. */
static bool is_no_reason(const char *error)
{
	return strstr(error, "FAILED") || strstr(error, "Can't setup RLIMIT_NOFILE for self");
}

void criu_log_tail(const char *path, char *ret, size_t size)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	size_t len = 0;

	ret[0] = '\0';
	if (file_read(path, LOG_MAX, &text, NULL) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *error = error_text(line);
		int n;

		if (!error || is_no_reason(error))
			continue;
		n = snprintf(ret + len, size - len, "%s%s", len ? "; " : "", error);
		if (n < 0 || (size_t)n >= size - len)
			return;
		len += (size_t)n;
	}
}
