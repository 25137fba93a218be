/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/space.h"

#include "base/fd.h"
#include "base/file.h"
#include "kernel/pagemap.h"
#include "kernel/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAPS_MAX (64u << 20)
#define FDINFO_MAX 65536

static int parse_line(const char *line, struct region *ret)
{
	char perms[5];
	unsigned long long inode;
	int n = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %llu%n", &ret->start, &ret->end,
		    perms, &inode, &n) != 4 ||
		strlen(perms) != 4 || ret->start >= ret->end || ret->start % PAGE_BYTES ||
		ret->end % PAGE_BYTES)
		return -EBADMSG;
	ret->readable = perms[0] == 'r';
	ret->writable = perms[1] == 'w';
	ret->executable = perms[2] == 'x';
	ret->shared = perms[3] == 's';
	ret->anonymous = inode == 0 && !strstr(line + n, "[v") && !strchr(line + n, '/');
	return 0;
}

static size_t count_lines(const char *text)
{
	size_t n = 1;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

int maps_parse(const char *text, struct region **ret, size_t *ret_n)
{
	struct region *v = calloc(count_lines(text), sizeof(*v));
	size_t n = 0;

	if (!v)
		return -ENOMEM;
	while (*text) {
		size_t len = strcspn(text, "\n");
		_cleanup_free_ char *line = strndup(text, len);
		int r = line ? parse_line(line, &v[n]) : -ENOMEM;

		if (r < 0) {
			free(v);
			return r;
		}
		n++;
		text += len + (text[len] == '\n');
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* The last number of NSpid is the pid in the innermost namespace (proc_pid_status(5)). */
int process_vpid(pid_t pid, uint32_t *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r = status_read(pid, &text);

	if (r < 0)
		return r;
	p = status_field(text, "\nNSpid:");
	if (!p)
		return -ENOTSUP;
	*ret = 0;
	while (*p && *p != '\n') {
		char *end;
		unsigned long v = strtoul(p, &end, 10);

		if (end == p)
			break;
		*ret = (uint32_t)v;
		p = end;
	}
	return *ret ? 0 : -EBADMSG;
}

int maps_read(pid_t pid, struct region **ret, size_t *ret_n)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	r = file_read(path, MAPS_MAX, &text, NULL);
	return r < 0 ? r : maps_parse(text, ret, ret_n);
}

void process_done(struct process *p)
{
	fd_close(&p->pagemap);
	fd_close(&p->mem);
	free(p->regions);
	p->regions = NULL;
}

int process_open(struct process *p, pid_t pid)
{
	char path[64];
	int r;

	*p = (struct process){.pid = pid, .pagemap = -1, .mem = -1};
	r = process_vpid(pid, &p->vpid);
	if (r < 0)
		return r;
	r = maps_read(pid, &p->regions, &p->n_regions);
	if (r < 0)
		return r;
	p->pagemap = pagemap_open(pid);
	if (p->pagemap < 0)
		return p->pagemap;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	p->mem = open(path, O_RDONLY | O_CLOEXEC);
	return p->mem < 0 ? -errno : 0;
}

int process_refresh(struct process *p)
{
	struct process now;
	int r = process_open(&now, p->pid);

	if (r < 0) {
		process_done(&now);
		return r;
	}
	process_done(p);
	*p = now;
	return 0;
}

static bool is_direct(int fdinfo, const char *name)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	unsigned flags;

	if (file_read_at(fdinfo, name, FDINFO_MAX, &text, NULL) < 0)
		return false;
	p = strstr(text, "flags:");
	return p && sscanf(p, "flags: %o", &flags) == 1 && (flags & O_DIRECT);
}

bool process_has_direct_io(const struct process *p)
{
	char path[64];
	struct dirent *entry;
	bool direct = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", p->pid);
	d = opendir(path);
	if (!d)
		return true; /* it can't be ruled out */
	while (!direct && (entry = readdir(d)))
		direct = entry->d_name[0] != '.' && is_direct(dirfd(d), entry->d_name);
	closedir(d);
	return direct;
}

int space_open(struct space *s, const pid_t *pids, size_t n, struct err *e)
{
	*s = SPACE_INIT;
	s->procs = calloc(n ? n : 1, sizeof(*s->procs));
	if (!s->procs)
		return err_sys(e, ENOMEM, "list of processes");
	for (size_t i = 0; i < n; i++) {
		struct process *p = &s->procs[s->n];
		int r = process_open(p, pids[i]);

		if (r == 0 && p->n_regions > 0) {
			s->n++;
			continue;
		}
		process_done(p);
		/* ESRCH, ENOENT and an empty map: a zombie, or it ended meanwhile. */
		if (r < 0 && r != -ESRCH && r != -ENOENT)
			return err_sys(e, -r, "reading the memory map of process %d", pids[i]);
	}
	return 0;
}

void space_done(struct space *s)
{
	for (size_t i = 0; i < s->n; i++)
		process_done(&s->procs[i]);
	free(s->procs);
	*s = SPACE_INIT;
}

struct process *space_find(const struct space *s, uint32_t vpid)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->procs[i].vpid == vpid)
			return &s->procs[i];
	return NULL;
}

int process_populated(const struct process *p, bool executable, struct ranges *ret)
{
	for (size_t i = 0; i < p->n_regions; i++) {
		const struct region *g = &p->regions[i];
		int r;

		if (!g->anonymous || g->shared || (g->executable && !executable))
			continue;
		r = pagemap_populated(p->pagemap, g->start, g->end, ret);
		if (r < 0)
			return r;
	}
	return 0;
}

int process_executable(const struct process *p, struct ranges *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n_regions; i++)
		if (p->regions[i].executable)
			r = ranges_add(ret, p->regions[i].start, p->regions[i].end);
	return r;
}

/* Not process_vm_readv(2): that goes by the pid, which may be another process's by now, and pins what it
 * reads, for which the kernel copies pages that are shared since a fork. */
int process_read(const struct process *p, uint64_t addr, uint32_t pages, void *buf)
{
	size_t len = PAGES_TO_BYTES(pages), done = 0;

	while (done < len) {
		ssize_t n = pread(p->mem, (char *)buf + done, len - done, (off_t)(addr + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EIO ? -EFAULT : -errno;
		if (n == 0)
			return -ESRCH;
		done += (size_t)n;
	}
	return 0;
}
