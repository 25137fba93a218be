/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/*
 * What of a container's memory can't follow later: CRIU writes it into its images, so it is read,
 * sent and restored while the container stands still. In bytes.
 */
struct eager {
	uint64_t shared;	 /* shared memory without a file: anonymous, memfd, System V */
	uint64_t locked;	 /* mlock(2) */
	uint64_t huge;		 /* hugetlbfs */
	uint64_t written_files;	 /* written pages of private file mappings */
	uint64_t tmpfs;		 /* files in tmpfs mounts */
};

/* Adds what the text of /proc/PID/smaps says (proc_pid_smaps(5)). What several processes share is
 * counted once over all of them. Lines that are not understood count nothing. */
void eager_add_smaps(struct eager *e, const char *text);

/* Of the processes of a container; what can't be read counts nothing. */
void eager_read(struct eager *ret, const pid_t *pids, size_t n);

uint64_t eager_total(const struct eager *e);
