/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "check/check.h"
#include "kernel/status.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PROC_MAX (16u << 20)

/* The "flags" of the first processor. */
static void read_cpu_features(char *ret, size_t size)
{
	_cleanup_free_ char *text = NULL;
	char *p;

	ret[0] = '\0';
	if (file_read("/proc/cpuinfo", PROC_MAX, &text, NULL) < 0)
		return;
	p = strstr(text, "\nflags");
	if (!p)
		p = strstr(text, "\nFeatures");
	p = p ? strchr(p, ':') : NULL;
	if (p)
		snprintf(ret, size, "%.*s", (int)strcspn(p + 2, "\n"), p + 2);
}

void host_facts_read(struct host_facts *f)
{
	struct utsname u;

	*f = (struct host_facts){0};
	if (uname(&u) == 0) {
		snprintf(f->arch, sizeof(f->arch), "%.63s", u.machine);
		snprintf(f->kernel, sizeof(f->kernel), "%.100s", u.release);
	}
	program_version("runc", f->runc_version, sizeof(f->runc_version));
	program_version("criu", f->criu_version, sizeof(f->criu_version));
	read_cpu_features(f->cpu_features, sizeof(f->cpu_features));
}

/* Anonymous memory of a process, from its status: what is in swap here comes to the target as well. */
static uint64_t anonymous_bytes(pid_t pid)
{
	_cleanup_free_ char *text = NULL;

	if (status_read(pid, &text) < 0)
		return 0;
	return status_bytes(text, "\nRssAnon:") + status_bytes(text, "\nVmSwap:");
}

/* A lock of one of these processes in /proc/locks: "1: POSIX  ADVISORY  WRITE PID ...". The
 * process ids there are those of this pid namespace. */
static bool have_locks(const pid_t *pids, size_t n)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (file_read("/proc/locks", PROC_MAX, &text, NULL) < 0)
		return false;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		int pid;

		if (sscanf(l, "%*s %*s %*s %*s %d", &pid) != 1)
			continue;
		for (size_t i = 0; i < n; i++)
			if (pids[i] == pid)
				return true;
	}
	return false;
}

static int read_config(struct container_facts *f, struct err *e)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/config.json", f->c.bundle) >= (int)sizeof(path))
		return err_set(e, ERR_REFUSED, ENAMETOOLONG, "bundle %s", f->c.bundle);
	r = file_read(path, OCI_CONFIG_MAX, &f->config_text, &f->config_len);
	if (r < 0)
		return err_sys(e, -r, "reading %s", path);
	return oci_config_parse(f->config_text, f->config_len, f->c.bundle, &f->config, e);
}

int container_facts_read(const char *id, struct container_facts *ret, struct err *e)
{
	int r;

	*ret = CONTAINER_FACTS_INIT;
	r = runc_state(id, &ret->c, e);
	if (r == 0)
		r = read_config(ret, e);
	if (r < 0 || ret->c.pid == 0 || !ret->c.cgroup[0])
		return r;
	r = cgroup_processes(ret->c.cgroup, &ret->pids, &ret->n_pids);
	if (r < 0)
		return err_sys(e, -r, "processes of %s", ret->c.cgroup);
	for (size_t i = 0; i < ret->n_pids; i++)
		ret->memory_bytes += anonymous_bytes(ret->pids[i]);
	eager_read(&ret->eager, ret->pids, ret->n_pids);
	ret->has_file_locks = have_locks(ret->pids, ret->n_pids);
	ret->n_listeners =
		listeners_read(ret->pids, ret->n_pids, ret->listeners, LISTENERS_MAX);
	return 0;
}

void container_facts_done(struct container_facts *f)
{
	free(f->config_text);
	free(f->pids);
	oci_config_done(&f->config);
	*f = CONTAINER_FACTS_INIT;
}
