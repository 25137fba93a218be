/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/images.h"

#include "base/file.h"
#include "pagemap.pb-c.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* criu/include/magic.h, criu/include/pagemap.h */
#define IMG_COMMON_MAGIC 0x54564319u
#define PAGEMAP_MAGIC 0x56084025u
#define PE_LAZY 2u

#define IMAGE_MAX (256u << 20)
#define ENTRY_MAX 4096u
#define LOG_MAX (64u << 20)

struct image_cursor {
	const uint8_t *p;
	size_t left;
};

static int take_u32(struct image_cursor *c, uint32_t *ret)
{
	if (c->left < sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, c->p, sizeof(*ret));
	*ret = le32toh(*ret);
	c->p += sizeof(*ret);
	c->left -= sizeof(*ret);
	return 0;
}

/* The next length-prefixed protobuf message. */
static int take_entry(struct image_cursor *c, const uint8_t **ret, uint32_t *ret_len)
{
	if (take_u32(c, ret_len) < 0 || *ret_len > ENTRY_MAX || *ret_len > c->left)
		return -EBADMSG;
	*ret = c->p;
	c->p += *ret_len;
	c->left -= *ret_len;
	return 0;
}

static int add_entry(const uint8_t *data, uint32_t len, struct ranges *ret)
{
	GwPagemapEntry *m = gw_pagemap_entry__unpack(NULL, len, data);
	uint64_t pages, end;
	int r = 0;

	if (!m)
		return -EBADMSG;
	pages = m->has_nr_pages ? m->nr_pages : m->nr_pages_32;
	if (m->vaddr % PAGE_BYTES || pages == 0 || pages > BYTES_TO_PAGES(UINT64_MAX) ||
		__builtin_add_overflow(m->vaddr, PAGES_TO_BYTES(pages), &end))
		r = -EBADMSG;
	else if (m->has_flags && (m->flags & PE_LAZY))
		r = ranges_add(ret, m->vaddr, end);
	gw_pagemap_entry__free_unpacked(m, NULL);
	return r;
}

int pagemap_image_parse(const void *data, size_t len, struct ranges *ret)
{
	struct image_cursor c = {data, len};
	const uint8_t *entry;
	uint32_t common, magic, n;

	if (take_u32(&c, &common) < 0 || take_u32(&c, &magic) < 0 || common != IMG_COMMON_MAGIC ||
		magic != PAGEMAP_MAGIC)
		return -EBADMSG;
	/* The first entry is the head; it names the file of the other pages. */
	if (take_entry(&c, &entry, &n) < 0)
		return -EBADMSG;
	while (c.left > 0) {
		int r = take_entry(&c, &entry, &n);

		if (r == 0)
			r = add_entry(entry, n, ret);
		if (r < 0)
			return r;
	}
	return 0;
}

int images_lazy_pages(const char *dir, uint32_t vpid, struct ranges *ret, struct err *e)
{
	_cleanup_free_ char *data = NULL;
	char path[PATH_MAX];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/pagemap-%u.img", dir, vpid);
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

		if (!error || strstr(error, "FAILED"))
			continue;
		n = snprintf(ret + len, size - len, "%s%s", len ? "; " : "", error);
		if (n < 0 || (size_t)n >= size - len)
			return;
		len += (size_t)n;
	}
}
