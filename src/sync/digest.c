/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/digest.h"

#include "base/buf.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (1u << 20)
#define DEPTH_MAX 256

struct walk {
	EVP_MD_CTX *sha;
	uint8_t *room;
	dev_t device;
	char path[PATH_MAX]; /* of the entry at hand, below the root */
	size_t path_len;
	struct err *e;
};

static int failed(struct walk *w, int code, const char *doing)
{
	return err_sys(w->e, code, "%s %s", doing, w->path_len ? w->path : ".");
}

static void add_number(struct walk *w, uint64_t v)
{
	uint8_t p[8];

	put_be64(p, v);
	EVP_DigestUpdate(w->sha, p, sizeof(p));
}

static void add_bytes(struct walk *w, const void *p, size_t len)
{
	add_number(w, len);
	EVP_DigestUpdate(w->sha, p, len);
}

static int add_contents(struct walk *w, int dir, const char *name, uint64_t size)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t done = 0;

	if (fd < 0)
		return failed(w, errno, "opening");
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (done < size) {
		ssize_t n = read(fd, w->room, READ_BYTES);

		if (n < 0)
			return failed(w, errno, "reading");
		if (n == 0)
			return failed(w, ESTALE, "changes while it is read:");
		EVP_DigestUpdate(w->sha, w->room, (size_t)n);
		done += (uint64_t)n;
	}
	return 0;
}

static int add_link(struct walk *w, int dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	if (n < 0)
		return failed(w, errno, "reading the link");
	add_bytes(w, target, (size_t)n);
	return 0;
}

static int walk_dir(struct walk *w, int dir, unsigned depth);

static int enter_dir(struct walk *w, int dir, const char *name, unsigned depth)
{
	_cleanup_close_ int fd =
		openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return failed(w, errno, "opening");
	if (depth == DEPTH_MAX)
		return failed(w, ELOOP, "too deep:");
	return walk_dir(w, fd, depth + 1);
}

static int add_entry(struct walk *w, int dir, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(w, errno, "looking at");
	add_bytes(w, w->path, w->path_len);
	add_number(w, st.st_mode);
	add_number(w, st.st_uid);
	add_number(w, st.st_gid);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		add_number(w, (uint64_t)st.st_size);
		return add_contents(w, dir, name, (uint64_t)st.st_size);
	case S_IFLNK:
		return add_link(w, dir, name);
	case S_IFCHR:
	case S_IFBLK:
		add_number(w, st.st_rdev);
		return 0;
	case S_IFDIR:
		return st.st_dev == w->device ? enter_dir(w, dir, name, depth) : 0;
	default:
		return 0;
	}
}

static int list_dir(int fd, struct dirent ***ret)
{
	return scandirat(fd, ".", ret, NULL, alphasort);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp((*(struct dirent *const *)a)->d_name, (*(struct dirent *const *)b)->d_name);
}

static int walk_dir(struct walk *w, int dir, unsigned depth)
{
	struct dirent **list;
	size_t len = w->path_len;
	int n = list_dir(dir, &list), r = 0;

	if (n < 0)
		return failed(w, errno, "listing");
	/* alphasort goes by locale: the same on every host is by bytes. */
	qsort(list, (size_t)n, sizeof(list[0]), by_bytes);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (r == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
			int k = snprintf(w->path + len, sizeof(w->path) - len, "/%s", name);

			w->path_len = len + (size_t)k;
			if (w->path_len >= sizeof(w->path))
				r = failed(w, ENAMETOOLONG, "path of");
			else
				r = add_entry(w, dir, name, depth);
		}
		free(list[i]);
	}
	free(list);
	w->path_len = len;
	w->path[len] = '\0';
	return r;
}

int digest_tree(const char *root, uint8_t ret[static DIGEST_LEN], struct err *e)
{
	_cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct walk w = {.e = e};
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "root file system %s", root);
	w.device = st.st_dev;
	w.sha = EVP_MD_CTX_new();
	w.room = malloc(READ_BYTES);
	if (!w.sha || !w.room || EVP_DigestInit(w.sha, EVP_sha256()) != 1)
		r = err_sys(e, ENOMEM, "digest of %s", root);
	else
		r = walk_dir(&w, fd, 0);
	if (r == 0)
		EVP_DigestFinal(w.sha, ret, NULL);
	EVP_MD_CTX_free(w.sha);
	free(w.room);
	return r < 0 ? err_wrap(e, "digest of %s", root) : 0;
}
