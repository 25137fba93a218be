/* SPDX-License-Identifier: Apache-2.0 */
#include "check/eager.h"

#include "base/file.h"

#include <limits.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define SMAPS_MAX (256u << 20)
#define MOUNTS_MAX 256

/* The kind of a mapping decides which of its numbers count. */
struct mapping {
	bool shared, has_file, shmem;
	uint64_t pss, anonymous, locked, huge; /* kB */
};

static bool is_shmem(const char *name)
{
	return strncmp(name, "/memfd:", 7) == 0 || strncmp(name, "/SYSV", 5) == 0 ||
		strncmp(name, "/dev/zero", 9) == 0;
}

/* "START-END PERMS OFFSET DEV INODE NAME" begins a mapping. */
static bool parse_head(const char *line, struct mapping *ret)
{
	unsigned long long start, end;
	char perms[5];
	int name = 0;

	if (sscanf(line, "%llx-%llx %4s %*x %*x:%*x %*u %n", &start, &end, perms, &name) != 3 ||
		strlen(perms) != 4)
		return false;
	*ret = (struct mapping){.shared = perms[3] == 's'};
	ret->has_file = name > 0 && line[name] == '/';
	ret->shmem = ret->shared && (!ret->has_file || is_shmem(line + name));
	return true;
}

static void parse_number(const char *line, struct mapping *m)
{
	char key[32];
	unsigned long long kb;

	if (sscanf(line, "%31[A-Za-z_]: %llu kB", key, &kb) != 2)
		return;
	if (strcmp(key, "Pss") == 0)
		m->pss = kb;
	else if (strcmp(key, "Anonymous") == 0)
		m->anonymous = kb;
	else if (strcmp(key, "Locked") == 0)
		m->locked = kb;
	else if (strcmp(key, "Private_Hugetlb") == 0 || strcmp(key, "Shared_Hugetlb") == 0)
		m->huge += kb;
}

static void add(struct eager *e, const struct mapping *m)
{
	if (m->huge > 0)
		e->huge += m->huge * 1024;
	else if (m->shmem)
		e->shared += m->pss * 1024;
	else if (!m->shared && m->has_file)
		e->written_files += m->anonymous * 1024;
	else if (!m->shared && m->locked > 0)
		e->locked += m->anonymous * 1024;
}

void eager_add_smaps(struct eager *e, const char *text)
{
	struct mapping m = {0}, next;

	while (*text) {
		char line[512];
		size_t len = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)(len < INT_MAX ? len : 0), text);
		if (parse_head(line, &next)) {
			add(e, &m);
			m = next;
		} else {
			parse_number(line, &m);
		}
		text += len + (text[len] == '\n');
	}
	add(e, &m);
}

static uint64_t used_bytes(const char *path)
{
	struct statvfs v;

	return statvfs(path, &v) == 0 ? (uint64_t)(v.f_blocks - v.f_bfree) * v.f_frsize : 0;
}

/* Each file system once, wherever it is mounted. */
static void add_tmpfs(struct eager *e, pid_t pid)
{
	char path[64], at[PATH_MAX];
	dev_t seen[MOUNTS_MAX];
	size_t n = 0;
	struct mntent *m;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/mounts", pid);
	f = setmntent(path, "re");
	if (!f)
		return;
	while (n < MOUNTS_MAX && (m = getmntent(f))) {
		struct stat st;
		bool known = false;

		if (strcmp(m->mnt_type, "tmpfs") != 0 ||
			snprintf(at, sizeof(at), "/proc/%d/root%s", pid, m->mnt_dir) >=
				(int)sizeof(at) ||
			stat(at, &st) < 0)
			continue;
		for (size_t i = 0; i < n; i++)
			known |= seen[i] == st.st_dev;
		seen[n++] = st.st_dev;
		e->tmpfs += known ? 0 : used_bytes(at);
	}
	endmntent(f);
}

void eager_read(struct eager *ret, const pid_t *pids, size_t n)
{
	*ret = (struct eager){0};
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *text = NULL;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/smaps", pids[i]);
		if (file_read(path, SMAPS_MAX, &text, NULL) == 0)
			eager_add_smaps(ret, text);
	}
	if (n > 0)
		add_tmpfs(ret, pids[0]);
}

uint64_t eager_total(const struct eager *e)
{
	return e->shared + e->locked + e->huge + e->written_files + e->tmpfs;
}
