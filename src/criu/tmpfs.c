/* SPDX-License-Identifier: Apache-2.0 */
#include "criu/tmpfs.h"

#include "base/fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 65536

/* The archive comes from a peer: nothing of it goes elsewhere than below the mount. */
#define EXTRACT_FLAGS                                                                              \
	(ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME |                     \
		ARCHIVE_EXTRACT_ACL | ARCHIVE_EXTRACT_XATTR | ARCHIVE_EXTRACT_SPARSE |             \
		ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT |                \
		ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS)

static _Atomic uint64_t unpacked;

static int result(int r)
{
	return r < ARCHIVE_WARN ? -EIO : 0;
}

/* Up to where the data goes on: the format leaves out what the entry says is a hole. */
static int write_zeros(struct archive *out, int64_t n)
{
	static const char zeros[CHUNK];

	while (n > 0) {
		la_ssize_t done = archive_write_data(
			out, zeros, n < CHUNK ? (size_t)n : sizeof(zeros));

		if (done <= 0)
			return -EIO;
		n -= done;
	}
	return 0;
}

static int copy_data(struct archive *in, struct archive *out)
{
	const void *data;
	la_int64_t offset, at = 0;
	size_t len;
	int r;

	while ((r = archive_read_data_block(in, &data, &len, &offset)) == ARCHIVE_OK) {
		if (write_zeros(out, offset - at) < 0 ||
			archive_write_data(out, data, len) != (la_ssize_t)len)
			return -EIO;
		at = offset + (la_int64_t)len;
	}
	return r == ARCHIVE_EOF ? 0 : -EIO;
}

static int add_entry(struct archive *disk, struct archive *out, struct archive_entry *entry)
{
	/* CRIU keeps sockets itself; tar leaves them out, too. */
	if (archive_entry_filetype(entry) == AE_IFSOCK)
		return 0;
	if (archive_write_header(out, entry) < ARCHIVE_WARN)
		return -EIO;
	return archive_entry_size(entry) > 0 ? copy_data(disk, out) : 0;
}

/* A file with several names is kept once; the resolver tells which entry comes first. */
static int add_all(struct archive *disk, struct archive *out, struct archive_entry_linkresolver *links)
{
	struct archive_entry *entry = archive_entry_new(), *spare = NULL;
	int r = 0, n;

	while (r == 0 && (n = archive_read_next_header2(disk, entry)) == ARCHIVE_OK) {
		archive_read_disk_descend(disk);
		archive_entry_linkify(links, &entry, &spare);
		r = add_entry(disk, out, entry);
		archive_entry_clear(entry);
	}
	archive_entry_free(entry);
	return r < 0 ? r : n == ARCHIVE_EOF ? 0 : -EIO;
}

static int create_from(struct archive *disk, int file)
{
	struct archive *out = archive_write_new();
	struct archive_entry_linkresolver *links = archive_entry_linkresolver_new();
	int r = result(archive_write_add_filter_gzip(out));

	if (r == 0)
		r = result(archive_write_set_filter_option(out, "gzip", "compression-level", "0"));
	if (r == 0)
		r = result(archive_write_set_format_pax(out));
	if (r == 0)
		r = result(archive_write_open_fd(out, file));
	archive_entry_linkresolver_set_strategy(links, archive_format(out));
	if (r == 0)
		r = add_all(disk, out, links);
	if (r == 0)
		r = result(archive_write_close(out));
	archive_entry_linkresolver_free(links);
	archive_write_free(out);
	return r;
}

/* Paths are relative to the working directory, which is this thread's alone. */
static int enter(int dir)
{
	return unshare(CLONE_FS) < 0 || fchdir(dir) < 0 ? -EIO : 0;
}

int tmpfs_pack(int dir, int file)
{
	struct archive *disk = archive_read_disk_new();
	int r = enter(dir);

	archive_read_disk_set_symlink_physical(disk);
	archive_read_disk_set_behavior(disk, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS);
	if (r == 0)
		r = result(archive_read_disk_open(disk, "."));
	if (r == 0)
		r = create_from(disk, file);
	archive_read_free(disk);
	return r;
}

uint64_t tmpfs_unpacked(void)
{
	return unpacked;
}

static void count(void *ctx)
{
	(void)ctx;
	unpacked++;
}

static int extract_all(struct archive *in, struct archive *disk)
{
	struct archive_entry *entry;
	int r;

	archive_read_extract_set_progress_callback(in, count, NULL);
	for (; (r = archive_read_next_header(in, &entry)) == ARCHIVE_OK; unpacked++)
		if (archive_read_extract2(in, entry, disk) < ARCHIVE_OK)
			return -EIO;
	if (r != ARCHIVE_EOF)
		return -EIO;
	/* Directories get their times and permissions only now. */
	return archive_write_close(disk) < ARCHIVE_OK ? -EIO : 0;
}

int tmpfs_unpack(int dir, int file)
{
	struct archive *in = archive_read_new(), *disk = archive_write_disk_new();
	int r = enter(dir);

	if (r == 0)
		r = result(archive_write_disk_set_options(disk, EXTRACT_FLAGS));
	if (r == 0)
		r = result(archive_read_support_filter_gzip(in));
	if (r == 0)
		r = result(archive_read_support_format_tar(in));
	if (r == 0)
		r = result(archive_read_open_fd(in, file, CHUNK));
	if (r == 0)
		r = extract_all(in, disk);
	archive_read_free(in);
	archive_write_free(disk);
	return r;
}

/* The real tar, if it has to do it after all, begins where we began. */
static void rewind_file(int file, off_t start, bool created)
{
	if (lseek(file, start, SEEK_SET) == start && created && ftruncate(file, start) < 0)
		return;
}

static void *serve(void *arg)
{
	struct hook_call *c = arg;
	bool create = strcmp(c->action, "create") == 0;
	off_t start = lseek(c->fds[1], 0, SEEK_CUR);
	int r = (create ? tmpfs_pack : tmpfs_unpack)(c->fds[0], c->fds[1]);

	if (r < 0)
		rewind_file(c->fds[1], start, create);
	hook_answer(c, r == 0);
	free(c);
	return NULL;
}

bool tmpfs_take(struct hook_call *c)
{
	struct hook_call *own;
	pthread_t thread;

	if (c->n_fds != 2)
		return false;
	own = malloc(sizeof(*own));
	if (own)
		*own = *c;
	/* It has nothing but what it was given, so nobody needs to wait for it. */
	if (own && pthread_create(&thread, NULL, serve, own) == 0) {
		pthread_detach(thread);
	} else {
		hook_answer(c, false);
		free(own);
	}
	*c = HOOK_CALL_INIT;
	return true;
}
