/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Whole small files, and directories. */

/* Reads all of @path into a new zero-terminated block that the caller frees; *ret_len (may be
 * NULL) without the zero. -EFBIG when it has more than @max bytes. Works on /proc files. */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len);

/* Like file_read() relative to a directory descriptor. */
int file_read_at(int dir, const char *path, size_t max, char **ret, size_t *ret_len);

/* Writes into an existing file (procfs, cgroupfs, sysfs) with one write. */
int file_poke(const char *path, const char *text);

/* Replaces @path atomically: temporary file beside it, fsync, rename, fsync of the directory. */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode);

/* Who was at it, by the name of a temporary file of that function's, and how long the name is that it would have
 * got; 0 when it is none. */
pid_t file_temporary_writer(const char *name, size_t *ret_len);

/* Writes a new program that only its owner may run: the bytes from @start up to @end. */
int file_write_program(const char *path, const void *start, const void *end);

/* mkdir -p; existing directories are fine and keep their mode. */
int dir_make(const char *path, mode_t mode);

/* Removes a tree that is the caller's, with what may be mounted there, without following symbolic links; a missing
 * one is fine. */
int dir_remove(const char *path);

static inline void cleanup_free(void *p)
{
	void *q = *(void **)p;

	__builtin_free(q);
}
#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
