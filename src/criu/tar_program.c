/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar that knows the archive of an empty directory, and leaves everything else to the real one.
 *
 * CRIU archives every tmpfs of a container within the freeze, and unpacks it while it restores, by
 * "tar --create --gzip ... --directory DIR ." and "tar --extract --gzip ... --directory DIR"
 * (criu/filesystems.c). Most of them are empty: /dev/shm, /dev/mqueue, /sys/firmware, /run. Each
 * costs the start of tar, a shell and gzip, twice, for one header; here it costs one small static
 * program. The archives are GNU tar's own (POSIX.1-1988 ustar, one entry "./").
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define BLOCK 512
#define RECORD (20 * BLOCK)	/* what tar writes at once */
#define GZIP_WINDOW (15 + 16)	/* zlib.h, deflateInit2(): the largest window, a gzip header */
#define DIRECTORY '5'

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
		magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};

static unsigned char archive[RECORD], packed[2 * RECORD];

static void real_tar(char **argv)
{
	execv("/usr/bin/tar", argv);
	execv("/bin/tar", argv);
	_exit(127);
}

static const char *option_value(char **argv, const char *name)
{
	for (; argv[0]; argv++)
		if (strcmp(argv[0], name) == 0)
			return argv[1];
	return NULL;
}

static int has_option(char **argv, const char *name)
{
	for (; argv[0]; argv++)
		if (strcmp(argv[0], name) == 0)
			return 1;
	return 0;
}

static int is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int n = 0;

	if (!d)
		return 0;
	while ((entry = readdir(d)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(d);
	return n == 0;
}

static unsigned checksum(const struct header *h)
{
	struct header copy = *h;
	unsigned sum = 0;

	memset(copy.checksum, ' ', sizeof(copy.checksum));
	for (size_t i = 0; i < sizeof(copy); i++)
		sum += ((const unsigned char *)&copy)[i];
	return sum;
}

/* 0, or -1 for what the fields can't hold. */
static int fill_header(struct header *h, const struct stat *st)
{
	if (st->st_uid > 07777777 || st->st_gid > 07777777 || st->st_mtime < 0 ||
		st->st_mtime > 077777777777)
		return -1;
	strcpy(h->name, "./");
	snprintf(h->mode, sizeof(h->mode), "%07o", st->st_mode & 07777);
	snprintf(h->uid, sizeof(h->uid), "%07o", st->st_uid);
	snprintf(h->gid, sizeof(h->gid), "%07o", st->st_gid);
	snprintf(h->size, sizeof(h->size), "%011o", 0);
	snprintf(h->mtime, sizeof(h->mtime), "%011llo", (unsigned long long)st->st_mtime);
	h->type = DIRECTORY;
	memcpy(h->magic, "ustar ", sizeof(h->magic)); /* GNU's form of it */
	memcpy(h->version, " ", 2);
	snprintf(h->checksum, sizeof(h->checksum), "%06o", checksum(h));
	h->checksum[7] = ' ';
	return 0;
}

/* 0 when the archive has been written. */
static int create(const char *dir)
{
	z_stream z = {.next_in = archive, .avail_in = sizeof(archive), .next_out = packed,
		.avail_out = sizeof(packed)};
	struct stat st;
	size_t len;

	if (!is_empty(dir) || stat(dir, &st) < 0 || fill_header((struct header *)archive, &st) < 0)
		return -1;
	if (deflateInit2(&z, 1, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
		deflate(&z, Z_FINISH) != Z_STREAM_END)
		return -1;
	len = sizeof(packed) - z.avail_out;
	return write(STDOUT_FILENO, packed, len) == (ssize_t)len ? 0 : -1;
}

/* Looks at standard input without taking anything from it: 0 when it is one record. */
static int read_archive(void)
{
	off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	ssize_t n = at < 0 ? -1 : pread(STDIN_FILENO, packed, sizeof(packed), at);
	z_stream z = {.next_in = packed, .avail_in = n > 0 ? (unsigned)n : 0, .next_out = archive,
		.avail_out = sizeof(archive)};

	if (n <= 0 || (size_t)n == sizeof(packed))
		return -1;
	if (inflateInit2(&z, GZIP_WINDOW) != Z_OK || inflate(&z, Z_FINISH) != Z_STREAM_END)
		return -1;
	return z.avail_out == 0 && z.avail_in == 0 ? 0 : -1;
}

static int is_zero(const unsigned char *p, size_t len)
{
	while (len > 0 && p[len - 1] == 0)
		len--;
	return len == 0;
}

/* 0 when it was the archive of an empty directory, and @dir is now like it. */
static int extract(const char *dir)
{
	const struct header *h = (const struct header *)archive;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};

	if (read_archive() < 0 || strcmp(h->name, "./") != 0 || h->type != DIRECTORY ||
		strtoul(h->checksum, NULL, 8) != checksum(h) ||
		!is_zero(archive + BLOCK, sizeof(archive) - BLOCK))
		return -1;
	times[1].tv_sec = (time_t)strtoull(h->mtime, NULL, 8);
	if (chown(dir, (uid_t)strtoul(h->uid, NULL, 8), (gid_t)strtoul(h->gid, NULL, 8)) < 0 ||
		chmod(dir, (mode_t)strtoul(h->mode, NULL, 8)) < 0 ||
		utimensat(AT_FDCWD, dir, times, 0) < 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	const char *dir = argc > 1 ? option_value(argv, "--directory") : NULL;

	if (dir && has_option(argv, "--gzip")) {
		if (has_option(argv, "--create") && create(dir) == 0)
			return 0;
		if (has_option(argv, "--extract") && extract(dir) == 0)
			return 0;
	}
	real_tar(argv);
}
