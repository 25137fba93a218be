/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "criu/kinds.h"
#include "mem/codec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 100000
#define INVENTORY_MAX 65536
#define PACKED_MIN 4096 /* bytes: what it costs to compress less says nothing of the rest */
#define DESCRIPTORS 3 /* runc: libcontainer/criu_linux.go */

struct images_out {
	struct channel *c;
	struct codec *codec; /* NULL: nothing is compressed */
	uint8_t *room;
	struct msg_images_end sum;
};

/* @n bytes in the room. */
static int send_piece(struct images_out *out, struct msg_image *m, size_t n, struct err *e)
{
	int r;

	m->data = (struct msg_bytes){out->room, n};
	m->unpacked = 0;
	if (out->codec && n >= PACKED_MIN &&
		codec_encode(out->codec, out->room, n, &m->data.p, &m->data.len) == CODEC_ZSTD)
		m->unpacked = (uint32_t)n;
	r = channel_send_data(out->c, MSG_IMAGE, m, &m->data, deadline_in_ms(CHANNEL_SILENCE_MS), e);
	return r < 0 ? r : FAULT(source_image_sent, e);
}

static int send_file(struct images_out *out, int dir, const char *name, struct err *e)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct msg_image m = {.name = msg_string(name)};
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "image %s", name);
	m.total = (uint64_t)st.st_size;
	do {
		uint64_t n = m.total - m.offset < MSG_DATA_MAX ? m.total - m.offset : MSG_DATA_MAX;

		r = fd_read_all(fd, out->room, n, DEADLINE_NEVER);
		if (r < 0)
			return err_sys(e, -r, "reading image %s", name);
		r = send_piece(out, &m, n, e);
		m.offset += n;
	} while (r == 0 && m.offset < m.total);
	out->sum.count++;
	out->sum.bytes += m.total;
	return r;
}

static int send_all(struct images_out *out, const char *dir, struct err *e)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int r = d ? 0 : err_sys(e, errno, "images in %s", dir);

	while (d && r == 0 && (entry = readdir(d)))
		if (entry->d_type == DT_REG && strcmp(entry->d_name, IMAGE_DESCRIPTORS) != 0)
			r = send_file(out, dirfd(d), entry->d_name, e);
	if (d)
		closedir(d);
	return r < 0 ? r
		     : channel_send(out->c, MSG_IMAGES_END, &out->sum, deadline_in_ms(CHANNEL_SILENCE_MS), e);
}

int images_send(struct channel *c, const char *dir, double link_rate, struct err *e)
{
	struct images_out out = {.c = c, .room = malloc(MSG_DATA_MAX)};
	int r;

	if (link_rate > 0 && (out.codec = codec_new()))
		codec_expect(out.codec, link_rate);
	r = out.room ? send_all(&out, dir, e) : err_sys(e, ENOMEM, "images");
	codec_free(out.codec);
	free(out.room);
	return r;
}

void images_in_init(struct images_in *in, const char *dir, bool network, uint64_t max_bytes)
{
	*in = (struct images_in){.dir = dir, .network = network, .fd = -1, .max_bytes = max_bytes};
	buf_init(&in->inventory, INVENTORY_MAX);
}

void images_in_done(struct images_in *in)
{
	fd_close(&in->fd);
	buf_done(&in->inventory);
}

static bool is_inventory(const struct images_in *in)
{
	return strcmp(in->name, IMAGE_INVENTORY) == 0;
}

static int open_file(struct images_in *in, struct err *e)
{
	char path[512];

	fd_close(&in->fd);
	if (is_inventory(in))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", in->dir, in->name);
	in->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return in->fd < 0 ? err_sys(e, errno, "image %s", in->name) : 0;
}

static int append(struct images_in *in, const struct msg_bytes *data)
{
	if (!is_inventory(in))
		return fd_write_all(in->fd, data->p, data->len, DEADLINE_NEVER);
	buf_put(&in->inventory, data->p, data->len);
	return buf_check(&in->inventory);
}

static int judge(const struct images_in *in, const struct msg_image *m, struct err *e)
{
	const char *name = msg_text(&m->name);

	switch (image_judge(name, in->network)) {
	case IMAGE_UNKNOWN:
		err_set(e, ERR_REFUSED, EPERM, "image %s is none that may be restored here", name);
		return err_remedy(e, "use the same version of CRIU on both hosts");
	case IMAGE_OF_NETWORK:
		return err_set(e, ERR_REFUSED, EPERM,
			"image %s is of a network, and the container restores none", name);
	case IMAGE_WELCOME:
		break;
	}
	/* CRIU would read a second one as the first one's end. */
	if (strcmp(name, IMAGE_INVENTORY) == 0 && in->inventory.len > 0)
		return err_set(e, ERR_PEER, EPROTO, "image %s came twice", name);
	if (!image_begins_well(name, m->data.p, m->data.len))
		return err_set(e, ERR_PEER, EBADMSG, "image %s is no such image", name);
	return 0;
}

static int begin_file(struct images_in *in, const struct msg_image *m, struct err *e)
{
	int r;

	if (m->offset != 0 || in->files == FILES_MAX)
		return err_set(e, ERR_PEER, EPROTO, "images out of order");
	if (m->total > in->max_bytes - in->bytes)
		return err_set(e, ERR_LOCAL, ENOSPC, "images of more than %llu bytes",
			(unsigned long long)in->max_bytes);
	r = judge(in, m, e);
	if (r < 0)
		return r;
	snprintf(in->name, sizeof(in->name), "%s", msg_text(&m->name));
	in->total = m->total;
	in->at = 0;
	in->files++;
	return open_file(in, e);
}

int images_take(struct images_in *in, const struct msg_image *m, struct err *e)
{
	int r = 0;

	if (m->unpacked)
		return err_set(e, ERR_PEER, EPROTO, "a compressed piece of image %s", msg_text(&m->name));
	if (in->at == in->total)
		r = begin_file(in, m, e);
	if (r < 0)
		return r;
	if (strcmp(in->name, msg_text(&m->name)) != 0 || m->offset != in->at || m->total != in->total)
		return err_set(e, ERR_PEER, EPROTO, "image %s out of order", msg_text(&m->name));
	if (m->data.len == 0 && m->total > 0)
		return err_set(e, ERR_PEER, EPROTO, "an empty piece of image %s", in->name);
	in->bytes += m->data.len;
	r = append(in, &m->data);
	in->at += m->data.len;
	if (r == 0)
		r = FAULT(target_image_came, NULL);
	return r < 0 ? err_sys(e, -r, "writing image %s", in->name) : 0;
}

int images_check_descriptors(const struct msg_bytes *text, struct err *e)
{
	json_t *list = json_loadb(text->p, text->len, JSON_REJECT_DUPLICATES, NULL), *item;
	bool fits = json_is_array(list) && json_array_size(list) <= DESCRIPTORS;
	size_t i;

	json_array_foreach(list, i, item)
		fits &= json_is_string(item);
	json_decref(list);
	return fits ? 0 : err_set(e, ERR_PEER, EBADMSG, "%s is no list of descriptors", IMAGE_DESCRIPTORS);
}

int images_finish(struct images_in *in, const struct msg_images_end *m, struct err *e)
{
	fd_close(&in->fd);
	if (in->at != in->total || in->inventory.len == 0 || m->count != in->files || m->bytes != in->bytes)
		return err_set(e, ERR_PEER, EPROTO, "images did not come whole");
	return 0;
}
