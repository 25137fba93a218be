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

uint64_t process_started(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (file_read(path, STAT_MAX, &text, NULL) < 0)
		return 0;
	/* A name may have anything in it, parentheses, too. */
	p = strrchr(text, ')');
	if (!p || strncmp(p, ") Z", 3) == 0 || strncmp(p, ") X", 3) == 0)
		return 0;
	for (int i = 0; p && i <= FIELDS_BEFORE; i++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

/* 'X' when it has ended. */
static char state_in(const char *path)
{
	_cleanup_free_ char *text = NULL;
	const char *p;

	if (file_read(path, STAT_MAX, &text, NULL) < 0)
		return 'X';
	p = strrchr(text, ')');
	return p && p[1] == ' ' ? p[2] : 'X';
}

static bool any_thread_runs(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	bool runs = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && !runs && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", pid, entry->d_name);
		runs = entry->d_name[0] != '.' && state_in(path) == 'R';
	}
	if (d)
		closedir(d);
	return runs;
}

bool process_runs(pid_t pid)
{
	char path[64], state;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	state = state_in(path);
	return state == 'R' || (state == 'T' && any_thread_runs(pid));
}

uint64_t process_ran(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	return file_read(path, STAT_MAX, &text, NULL) < 0 ? 0 : strtoull(text, NULL, 10);
}
