/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/status.h"

#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_MAX (1u << 20) /* of a process in 65,536 groups */

int status_read(pid_t pid, char **ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return file_read(path, STATUS_MAX, ret, NULL);
}

const char *status_field(const char *text, const char *field)
{
	const char *p = strstr(text, field);

	return p ? p + strlen(field) : NULL;
}

long status_number(const char *text, const char *field)
{
	const char *p = status_field(text, field);

	return p ? strtol(p, NULL, 10) : 0;
}

uint64_t status_bytes(const char *text, const char *field)
{
	return (uint64_t)status_number(text, field) << 10;
}

pid_t process_tracer(pid_t pid)
{
	_cleanup_free_ char *text = NULL;

	return status_read(pid, &text) < 0 ? 0 : (pid_t)status_number(text, "\nTracerPid:");
}

#define STAT_MAX 4096
#define FIELDS_BEFORE 19 /* from the state on, proc_pid_stat(5) */

/* What stands behind the name in a /proc/PID/stat, from the state on; NULL when it has ended. A name may have anything in
 * it, parentheses, too. *ret is freed by the caller. */
static const char *fields_of(const char *path, char **ret)
{
	const char *p;

	if (file_read(path, STAT_MAX, ret, NULL) < 0)
		return NULL;
	p = strrchr(*ret, ')');
	return p && p[1] == ' ' ? p + 2 : NULL;
}

static const char *fields_of_process(pid_t pid, char **ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return fields_of(path, ret);
}

uint64_t process_started(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *p = fields_of_process(pid, &text);

	if (!p || *p == 'Z' || *p == 'X')
		return 0;
	for (int i = 0; p && i < FIELDS_BEFORE; i++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

pid_t process_parent(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *p = fields_of_process(pid, &text);

	return p ? (pid_t)strtol(p + 1, NULL, 10) : 0;
}

/* Whose tracer has let go of it may be in its stop for it a moment longer. */
static bool runs(char state)
{
	return state == 'R' || state == 't';
}

static bool thread_runs(const char *path)
{
	_cleanup_free_ char *text = NULL;
	const char *p = fields_of(path, &text);

	return p && runs(*p);
}

static bool any_thread_runs(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && !found && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", pid, entry->d_name);
		found = entry->d_name[0] != '.' && thread_runs(path);
	}
	if (d)
		closedir(d);
	return found;
}

bool process_runs(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *p = fields_of_process(pid, &text);

	return p && (runs(*p) || (*p == 'T' && any_thread_runs(pid)));
}

uint64_t process_ran(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	return file_read(path, STAT_MAX, &text, NULL) < 0 ? 0 : strtoull(text, NULL, 10);
}
