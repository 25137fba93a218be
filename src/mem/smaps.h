/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/ranges.h"
#include "mem/space.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * /proc/PID/smaps (proc_pid_smaps(5)): the regions of a process with their flags. The kernel walks
 * the page tables for it, 12 ms per GB, and keeps regions from being made or removed meanwhile.
 */

struct smaps {
	char *text;		/* owned: all of it */
	char *maps;		/* owned: those of its lines that /proc/PID/maps consists of */
	struct region *regions; /* owned */
	const char **flags;	/* owned: of each region, "rd wr mr ", ends with a newline; inside text */
	size_t n;
};

#define SMAPS_INIT ((struct smaps){0})

/* -ESRCH or -ENOENT when the process has ended, -EBADMSG, -errno. */
int smaps_read(pid_t pid, struct smaps *ret);

/* @text is taken over, also on failure. -EBADMSG, -ENOMEM. */
int smaps_parse(char *text, struct smaps *ret);

void smaps_done(struct smaps *s);
#define _cleanup_smaps_ __attribute__((cleanup(smaps_done)))

/* Adds the regions of at least @min bytes whose pages are all that CRIU saves of them in a lazy
 * dump, and all of them lazily: private anonymous memory with no flag that changes that. */
int smaps_plain(const struct smaps *s, uint64_t min, struct ranges *ret);

/* In its text, the regions of @s that lie within @within have their first page alone from now on. */
void smaps_shorten(struct smaps *s, const struct ranges *within);

/*
 * Do all regions of @before still exist in @now, with the same flags? What CRIU changes for the time
 * of a dump (it makes regions readable, and adds some) doesn't count, nor do the marks of
 * userfaultfd.
 */
bool smaps_agree(const struct smaps *before, const struct smaps *now);
