/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/ranges.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The processes of a container and the regions of their memory, seen from outside.
 *
 * A process is known to CRIU, and on the wire, by its pid inside the container's pid namespace
 * (vpid); on this host by its pid here.
 */

struct region {
	uint64_t start, end;
	bool readable, writable, executable, shared;
	bool anonymous; /* no file behind it: heap, stack, mmap(MAP_ANONYMOUS) */
};

struct process {
	pid_t pid;
	uint32_t vpid;
	int pagemap; /* owned */
	int mem;     /* owned: /proc/PID/mem */
	struct region *regions; /* owned, ascending */
	size_t n_regions;
};

#define PROCESS_INIT ((struct process){.pagemap = -1, .mem = -1})

/* -ESRCH or -ENOENT when it has ended; without regions it has no address space. */
int process_open(struct process *p, pid_t pid);
void process_done(struct process *p);

/* The pid of a process in its innermost pid namespace. -ESRCH or -ENOENT when it has ended. */
int process_vpid(pid_t pid, uint32_t *ret);

/* Looks at its regions, and at which address space it has, anew: exec(2) gives it another. No other
 * thread may read its memory meanwhile. */
int process_refresh(struct process *p);

/* May something write to its memory past its page tables: a file open for direct I/O? */
bool process_has_direct_io(const struct process *p);

struct space {
	struct process *procs; /* owned */
	size_t n;
};

#define SPACE_INIT ((struct space){0})

/* Opens every process of @pids that has an address space (zombies are left out), with its regions
 * as they are now. The caller ends with space_done(), also on failure. */
int space_open(struct space *s, const pid_t *pids, size_t n, struct err *e);

void space_done(struct space *s);

/* The process with that pid inside the container, or NULL. */
struct process *space_find(const struct space *s, uint32_t vpid);

/* Parses the text of /proc/PID/maps (proc_pid_maps(5)); *ret is freed by the caller. 0,
 * -EBADMSG for a line that isn't one, -ENOMEM. */
int maps_parse(const char *text, struct region **ret, size_t *ret_n);

/* The regions of a process as they are now; the caller frees *ret. -ESRCH or -ENOENT when it has ended. */
int maps_read(pid_t pid, struct region **ret, size_t *ret_n);

/* Adds what a lazy restore may ask for: populated private anonymous memory. Executable regions
 * only if @executable: CRIU writes to those while it dumps. */
int process_populated(const struct process *p, bool executable, struct ranges *ret);

/* The regions with execute permission. */
int process_executable(const struct process *p, struct ranges *ret);

/* Reads @pages pages at @addr; works for regions without read permission too. 0, -EFAULT when
 * something there isn't mapped, -ESRCH, -errno. Safe from several threads. */
int process_read(const struct process *p, uint64_t addr, uint32_t pages, void *buf);
