/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 100000

static int send_file(struct channel *c, int dir, const char *name, uint8_t *room,
	struct msg_images_end *sum, uint64_t deadline, struct err *e)
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

		r = fd_read_all(fd, room, n, deadline);
		if (r < 0)
			return err_sys(e, -r, "reading image %s", name);
		m.data = (struct msg_bytes){room, n};
		r = channel_send_data(c, MSG_IMAGE, &m, &m.data, deadline, e);
		m.offset += n;
	} while (r == 0 && m.offset < m.total);
	sum->count++;
	sum->bytes += m.total;
	return r;
}

int images_send(struct channel *c, const char *dir, uint64_t deadline, struct err *e)
{
	struct msg_images_end sum = {0};
	uint8_t *room = malloc(MSG_DATA_MAX);
	DIR *d = opendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!d || !room)
		r = err_sys(e, d ? ENOMEM : errno, "images in %s", dir);
	while (r == 0 && (entry = readdir(d)))
		if (entry->d_name[0] != '.' && entry->d_type == DT_REG)
			r = send_file(c, dirfd(d), entry->d_name, room, &sum, deadline, e);
	if (d)
		closedir(d);
	free(room);
	return r < 0 ? r : channel_send(c, MSG_IMAGES_END, &sum, deadline, e);
}

static int begin_file(struct images_in *in, const struct msg_image *m, struct err *e)
{
	char path[512];

	if (in->at != in->total || m->offset != 0 || in->files == FILES_MAX)
		return err_set(e, ERR_PEER, EPROTO, "images out of order");
	snprintf(path, sizeof(path), "%s/%s", in->dir, msg_text(&m->name));
	fd_close(&in->fd);
	in->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (in->fd < 0)
		return err_sys(e, errno, "image %s", msg_text(&m->name));
	snprintf(in->name, sizeof(in->name), "%s", msg_text(&m->name));
	in->total = m->total;
	in->at = 0;
	in->files++;
	return 0;
}

int images_take(struct images_in *in, const struct msg_image *m, struct err *e)
{
	int r = 0;

	if (in->at == in->total)
		r = begin_file(in, m, e);
	if (r < 0)
		return r;
	if (strcmp(in->name, msg_text(&m->name)) != 0 || m->offset != in->at || m->total != in->total)
		return err_set(e, ERR_PEER, EPROTO, "image %s out of order", msg_text(&m->name));
	in->bytes += m->data.len;
	if (in->bytes > in->max_bytes)
		return err_set(e, ERR_LOCAL, ENOSPC, "images of more than %llu bytes",
			(unsigned long long)in->max_bytes);
	r = fd_write_all(in->fd, m->data.p, m->data.len, DEADLINE_NEVER);
	in->at += m->data.len;
	return r < 0 ? err_sys(e, -r, "writing image %s", in->name) : 0;
}

int images_finish(struct images_in *in, const struct msg_images_end *m, struct err *e)
{
	fd_close(&in->fd);
	if (in->at != in->total || m->count != in->files || m->bytes != in->bytes)
		return err_set(e, ERR_PEER, EPROTO, "images did not come whole");
	return 0;
}
