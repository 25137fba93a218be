/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/journal.h"

#include "base/fd.h"
#include "base/file.h"
#include "base/hex.h"
#include "kernel/status.h"
#include "oci/cgroup.h"
#include "oci/runc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define ENTRY_MAX 16384
#define ID_LEN 32 /* as text */

/* The kernel's name for the time since this host was started (random(4)); "" when it can't be told. */
static void read_boot(char ret[static BOOT_LEN + 1])
{
	_cleanup_free_ char *text = NULL;

	ret[0] = '\0';
	if (file_read("/proc/sys/kernel/random/boot_id", ENTRY_MAX, &text, NULL) == 0)
		snprintf(ret, BOOT_LEN + 1, "%.*s", BOOT_LEN, text);
}

static int write_entry(const struct journal *j)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:I}", "id",
		j->id, "boot", j->boot, "container", j->container, "peer", j->peer, "address", j->address, "netns",
		j->netns, "network", j->network, "cgroup", j->cgroup, "key", j->key, "token", j->token, "role",
		j->source ? "source" : "target", "step", j->step, "cgroup_number", (json_int_t)j->cgroup_number, "pid",
		(int)j->pid, "started", (json_int_t)process_started(j->pid));
	char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	int r = text ? file_write_atomic(j->path, text, strlen(text), 0600) : -ENOMEM;

	free(text);
	json_decref(o);
	return r;
}

int journal_step(struct journal *j, const char *step, struct err *e)
{
	int r;

	snprintf(j->step, sizeof(j->step), "%s", step);
	r = write_entry(j);
	return r < 0 ? err_sys(e, -r, "writing the journal %s", j->path) : 0;
}

static void note(char *to, size_t size, const char *what)
{
	snprintf(to, size, "%s", what ? what : "");
}

int journal_begin(struct journal *j, const uint8_t id[static 16], bool source,
	const struct journal_subject *what, struct err *e)
{
	int r = dir_make(JOURNAL_DIR, 0700);

	if (r < 0)
		return err_sys(e, -r, "making %s", JOURNAL_DIR);
	*j = (struct journal){.source = source, .pid = getpid()};
	read_boot(j->boot);
	hex_format(id, 16, j->id);
	if (what->token)
		hex_format(what->token, 16, j->token);
	note(j->container, sizeof(j->container), what->container);
	note(j->peer, sizeof(j->peer), what->peer);
	note(j->address, sizeof(j->address), what->address);
	note(j->netns, sizeof(j->netns), what->netns);
	note(j->network, sizeof(j->network), what->network);
	note(j->cgroup, sizeof(j->cgroup), what->cgroup);
	j->cgroup_number = cgroup_number(j->cgroup);
	note(j->key, sizeof(j->key), what->key);
	snprintf(j->path, sizeof(j->path), "%s/%s.%s", JOURNAL_DIR, j->id,
		source ? "source" : "target");
	r = journal_step(j, "prepared", e);
	if (r < 0)
		j->path[0] = '\0';
	return r;
}

void journal_end(struct journal *j)
{
	if (j->path[0])
		unlink(j->path);
	j->path[0] = '\0';
}

static void copy(char *to, size_t size, const json_t *o, const char *key)
{
	note(to, size, json_string_value(json_object_get(o, key)));
}

/* Another process may have its number by now. */
static bool is_alive(pid_t pid, const json_t *o)
{
	uint64_t started = pid > 0 ? process_started(pid) : 0;

	return started != 0 &&
		started == (uint64_t)json_integer_value(json_object_get(o, "started"));
}

/* An entry's name in the first @len bytes: what else may lie there is none. */
static bool is_name(const char *name, size_t len)
{
	const char *role = name + ID_LEN;

	if (len <= ID_LEN || strspn(name, "0123456789abcdef") != ID_LEN)
		return false;
	return (len == ID_LEN + strlen(".source") && strncmp(role, ".source", len - ID_LEN) == 0) ||
		(len == ID_LEN + strlen(".target") && strncmp(role, ".target", len - ID_LEN) == 0);
}

const char *journal_gone_text(enum journal_gone gone)
{
	static const char *const texts[] = {
		[GONE_NOT] = "",
		[GONE_REBOOTED] = "this host was rebooted",
		[GONE_REPLACED] = "somebody has deleted it here, and started another one of its name",
	};

	return texts[gone];
}

/* The cgroup alone may be gone as well because we were about to delete the container: then that is to be done. */
static bool is_replaced(const struct journal_entry *j)
{
	return j->cgroup_number != 0 && cgroup_number(j->cgroup) != j->cgroup_number &&
		runc_is_started(j->container);
}

/* An entry of an older godwit doesn't say: it is taken as of this boot. */
static void find_gone(struct journal_entry *ret)
{
	char now[BOOT_LEN + 1];

	read_boot(now);
	if (!ret->boot[0])
		note(ret->boot, sizeof(ret->boot), now);
	if (now[0] && strcmp(ret->boot, now) != 0)
		ret->gone = GONE_REBOOTED;
	else
		ret->gone = is_replaced(ret) ? GONE_REPLACED : GONE_NOT;
}

static bool read_entry(const char *name, struct journal_entry *ret)
{
	_cleanup_free_ char *text = NULL;
	char path[sizeof(ret->path)];
	json_t *o;

	if (snprintf(path, sizeof(path), "%s/%s", JOURNAL_DIR, name) >= (int)sizeof(path))
		return false;
	if (!is_name(name, strlen(name)) || file_read(path, ENTRY_MAX, &text, NULL) < 0)
		return false;
	o = json_loads(text, 0, NULL);
	if (!o)
		return false;
	copy(ret->id, sizeof(ret->id), o, "id");
	copy(ret->boot, sizeof(ret->boot), o, "boot");
	copy(ret->container, sizeof(ret->container), o, "container");
	copy(ret->peer, sizeof(ret->peer), o, "peer");
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	copy(ret->address, sizeof(ret->address), o, "address");
	copy(ret->netns, sizeof(ret->netns), o, "netns");
	copy(ret->network, sizeof(ret->network), o, "network");
	copy(ret->cgroup, sizeof(ret->cgroup), o, "cgroup");
	copy(ret->key, sizeof(ret->key), o, "key");
	copy(ret->token, sizeof(ret->token), o, "token");
	copy(ret->role, sizeof(ret->role), o, "role");
	copy(ret->step, sizeof(ret->step), o, "step");
	ret->pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	ret->alive = is_alive(ret->pid, o);
	ret->cgroup_number = (uint64_t)json_integer_value(json_object_get(o, "cgroup_number"));
	find_gone(ret);
	json_decref(o);
	return true;
}

int journal_find(const uint8_t id[static 16], bool source, struct journal_entry *ret)
{
	char text[33], name[64], path[128];

	hex_format(id, 16, text);
	snprintf(name, sizeof(name), "%s.%s", text, source ? "source" : "target");
	if (read_entry(name, ret))
		return 0;
	snprintf(path, sizeof(path), "%s/%s", JOURNAL_DIR, name);
	return access(path, F_OK) < 0 && errno == ENOENT ? -ENOENT : -EBADMSG;
}

/* A target that only waits for the source's good-bye: nothing of it is open here. */
static bool is_over(const struct journal_entry *j)
{
	return strcmp(j->role, "target") == 0 && strcmp(j->step, "drained") == 0;
}

static int claim(struct journal_entry *entry, struct journal *ret)
{
	const char *name = strrchr(entry->path, '/') + 1;
	struct journal_entry now;

	if (!read_entry(name, &now))
		return -ENOENT;
	*entry = now;
	if (is_over(&now))
		return -EALREADY;
	if (now.alive)
		return -EBUSY;
	*ret = (struct journal){.source = strcmp(now.role, "source") == 0, .pid = getpid()};
	note(ret->path, sizeof(ret->path), now.path);
	note(ret->id, sizeof(ret->id), now.id);
	note(ret->boot, sizeof(ret->boot), now.boot);
	ret->cgroup_number = now.cgroup_number;
	ret->gone = now.gone;
	note(ret->container, sizeof(ret->container), now.container);
	note(ret->peer, sizeof(ret->peer), now.peer);
	note(ret->address, sizeof(ret->address), now.address);
	note(ret->netns, sizeof(ret->netns), now.netns);
	note(ret->network, sizeof(ret->network), now.network);
	note(ret->cgroup, sizeof(ret->cgroup), now.cgroup);
	note(ret->key, sizeof(ret->key), now.key);
	note(ret->token, sizeof(ret->token), now.token);
	note(ret->step, sizeof(ret->step), now.step);
	return write_entry(ret);
}

/* Claimed by who first writes his own process into it. */
int journal_claim(struct journal_entry *entry, struct journal *ret)
{
	_cleanup_close_ int dir = open(JOURNAL_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || flock(dir, LOCK_EX) < 0)
		return -errno;
	return claim(entry, ret);
}

/* What a process has left that died before its entry had its name. */
static void sweep(DIR *d, const char *name)
{
	size_t len = 0;
	pid_t writer = file_temporary_writer(name, &len);

	if (writer > 0 && is_name(name, len) && process_started(writer) == 0)
		unlinkat(dirfd(d), name, 0);
}

int journal_list(struct journal_entry **ret, size_t *ret_n, struct err *e)
{
	DIR *d = opendir(JOURNAL_DIR);
	struct dirent *entry;

	*ret = NULL;
	*ret_n = 0;
	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, errno, "opening %s", JOURNAL_DIR);
	while ((entry = readdir(d))) {
		struct journal_entry *bigger = realloc(*ret, (*ret_n + 1) * sizeof(**ret));

		if (!bigger) {
			closedir(d);
			return err_sys(e, ENOMEM, "journal");
		}
		*ret = bigger;
		if (read_entry(entry->d_name, &bigger[*ret_n]))
			(*ret_n)++;
		else
			sweep(d, entry->d_name);
	}
	closedir(d);
	return 0;
}

int journal_check_free(const char *container, struct err *e)
{
	struct journal_entry *v;
	size_t n;
	int r = journal_list(&v, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (strcmp(v[i].container, container) != 0 || is_over(&v[i]))
			continue;
		if (v[i].alive) {
			r = err_set(e, ERR_REFUSED, EBUSY, "%s is being moved already, by process %d",
				container, v[i].pid);
			err_remedy(e, "'godwit status' shows it; wait for its end");
		} else {
			r = err_set(e, ERR_REFUSED, EBUSY,
				"an earlier migration of %s died and is not settled", container);
			err_remedy(e, "run 'godwit recover'");
		}
	}
	free(v);
	return r;
}
