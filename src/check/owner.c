/* SPDX-License-Identifier: Apache-2.0 */
#include "check/owner.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_plain(const char *path)
{
	for (const char *p = path; *p == '/'; p += 1 + strcspn(p + 1, "/")) {
		size_t n = strcspn(p + 1, "/");

		if (n == 0 || (n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
			return false;
	}
	return path[0] == '/';
}

static bool is_roots(const struct stat *st)
{
	bool others_write = (st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && st->st_gid != 0);

	if (st->st_uid != 0)
		return false;
	return !others_write || S_ISLNK(st->st_mode) || (S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX));
}

static int check_one(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_set(e, ERR_REFUSED, errno, "%s: %s", path, strerror(errno));
	if (is_roots(&st))
		return 0;
	err_set(e, ERR_REFUSED, EPERM, "others than root can change %s, from which it would be restored", path);
	return err_remedy(e, "on the target: chown root %s; chmod go-w %s", path, path);
}

static int check_all(const char *path, struct err *e)
{
	char part[PATH_MAX];
	int r = check_one("/", e);

	for (const char *p = path; r == 0 && *p;) {
		p += 1 + strcspn(p + 1, "/");
		memcpy(part, path, (size_t)(p - path));
		part[p - path] = '\0';
		r = check_one(part, e);
	}
	return r;
}

/* Symbolic links that root has made may lead there: then both ways count. */
int path_check_owner(const char *path, struct err *e)
{
	_cleanup_free_ char *real = NULL;
	int r;

	if (strcmp(path, "/") == 0)
		return check_one(path, e);
	if (!is_plain(path) || strlen(path) >= PATH_MAX)
		return err_set(e, ERR_REFUSED, EINVAL, "\"%.200s\" is no plain path", path);
	r = check_all(path, e);
	if (r < 0)
		return r;
	real = realpath(path, NULL);
	if (!real)
		return err_set(e, ERR_REFUSED, errno, "%s: %s", path, strerror(errno));
	return strcmp(real, path) == 0 ? 0 : check_all(real, e);
}

int path_check_parent(const char *path, struct err *e)
{
	char parent[PATH_MAX];
	const char *last = strrchr(path, '/');

	if (!last || last == path || last - path >= PATH_MAX)
		return path_check_owner("/", e);
	memcpy(parent, path, (size_t)(last - path));
	parent[last - path] = '\0';
	return path_check_owner(parent, e);
}
