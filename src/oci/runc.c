/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/runc.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <unistd.h>

#define RUNC_ROOT "/run/runc" /* runc(8), --root */
#define OUTPUT_MAX (1u << 20)
#define QUICK_MS 20000 /* for commands that only look or delete */
#define CRIU_ENDS_MS 5000 /* when nobody waits for what it restores */

bool container_id_valid(const char *id)
{
	size_t n = strspn(id,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-");

	return n > 0 && n <= CONTAINER_ID_MAX && id[n] == '\0' && id[0] != '.' && id[0] != '-';
}

/* "a, b, c" or "none": for messages. */
static void list_containers(char *ret, size_t size)
{
	const char *argv[] = {"runc", "list", "-q", NULL};
	_cleanup_free_ char *out = NULL;

	snprintf(ret, size, "none");
	if (child_run(argv, OUTPUT_MAX, &out, deadline_in_ms(QUICK_MS)) != 0 || !*out)
		return;
	snprintf(ret, size, "%s", out);
	for (char *p = ret; *p; p++)
		if (*p == '\n')
			*p = p[1] ? ' ' : '\0';
}

static int unknown(const char *id, struct err *e)
{
	char list[256];

	list_containers(list, sizeof(list));
	err_set(e, ERR_REFUSED, ENOENT, "no container \"%s\" on this host", id);
	return err_remedy(e, "containers here: %s; see 'runc list'", list);
}

bool runc_exists(const char *id)
{
	char path[sizeof(RUNC_ROOT) + CONTAINER_ID_MAX + 2];

	snprintf(path, sizeof(path), "%s/%s", RUNC_ROOT, id);
	return access(path, F_OK) == 0;
}

int runc_watch(void)
{
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd < 0 || inotify_add_watch(fd, RUNC_ROOT, IN_CREATE | IN_MOVED_TO) < 0)
		return -errno;
	return fd_take(&fd);
}

int runc_claim(const char *id, int *ret, struct err *e)
{
	_cleanup_close_ int lock = -1;
	int r = dir_make(RUNC_ROOT, 0700);

	if (r == 0)
		lock = open(RUNC_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && (lock < 0 || flock(lock, LOCK_EX) < 0))
		r = -errno;
	if (r < 0)
		return err_sys(e, -r, "locking %s", RUNC_ROOT);
	if (runc_exists(id)) {
		err_set(e, ERR_REFUSED, EEXIST, "there is a container \"%s\" here already", id);
		return err_remedy(e, "delete or rename it; see 'runc list'");
	}
	*ret = fd_take(&lock);
	return 0;
}

static int parse_state(const char *text, struct container *ret, struct err *e)
{
	json_t *j = json_loads(text, 0, NULL);
	const char *status = json_string_value(json_object_get(j, "status"));
	const char *bundle = json_string_value(json_object_get(j, "bundle"));
	int r = 0;

	if (status && bundle && strlen(bundle) < sizeof(ret->bundle)) {
		snprintf(ret->status, sizeof(ret->status), "%s", status);
		snprintf(ret->bundle, sizeof(ret->bundle), "%s", bundle);
		ret->pid = (pid_t)json_integer_value(json_object_get(j, "pid"));
	} else {
		r = err_set(e, ERR_LOCAL, EBADMSG, "runc state printed something unknown");
	}
	json_decref(j);
	return r;
}

/* The cgroup that runc has made (cgroup_paths in its state.json; "" is version 2's), if that of its first process
 * is below: an init moves itself and others into cgroups of its own. */
static void widen_cgroup(struct container *c)
{
	char path[sizeof(RUNC_ROOT) + CONTAINER_ID_MAX + 16];
	_cleanup_free_ char *text = NULL;
	const char *made;
	json_t *j;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s/state.json", RUNC_ROOT, c->id);
	if (file_read(path, OUTPUT_MAX, &text, NULL) < 0)
		return;
	j = json_loads(text, 0, NULL);
	made = json_string_value(json_object_get(json_object_get(j, "cgroup_paths"), ""));
	n = made ? strlen(made) : 0;
	if (n > 0 && strncmp(c->cgroup, made, n) == 0 && c->cgroup[n] == '/')
		c->cgroup[n] = '\0';
	json_decref(j);
}

int runc_state(const char *id, struct container *ret, struct err *e)
{
	const char *argv[] = {"runc", "state", id, NULL};
	_cleanup_free_ char *out = NULL;
	int r;

	*ret = (struct container){0};
	if (!container_id_valid(id)) {
		err_set(e, ERR_USAGE, EINVAL, "\"%s\" is no container name", id);
		return err_remedy(e, "use letters, digits and _ + . -");
	}
	snprintf(ret->id, sizeof(ret->id), "%s", id);
	r = child_run(argv, OUTPUT_MAX, &out, deadline_in_ms(QUICK_MS));
	if (r == -ENOENT) {
		err_sys(e, ENOENT, "runc");
		return err_remedy(e, "install it: apt-get install runc");
	}
	if (r < 0)
		return err_sys(e, -r, "runc state %s", id);
	if (r > 0)
		return unknown(id, e);
	r = parse_state(out, ret, e);
	if (r == 0 && ret->pid > 0 && cgroup_of(ret->pid, ret->cgroup, sizeof(ret->cgroup)) == 0)
		widen_cgroup(ret);
	return r;
}

bool runc_is_started(const char *id)
{
	char path[sizeof(RUNC_ROOT) + CONTAINER_ID_MAX + 16];
	struct container c;

	snprintf(path, sizeof(path), "%s/%s/criu-root", RUNC_ROOT, id);
	return runc_state(id, &c, NULL) == 0 && c.pid > 0 && access(path, F_OK) < 0;
}

/* @programs: a directory to put before the others in PATH, @preload: a library; or NULL. */
static int start_runc(const char *const *argv, const char *programs, const char *preload,
	struct child *ret, struct err *e)
{
	const char *inherited = getenv("PATH");
	char path[4096], library[256];
	const char *env[3] = {NULL};
	struct child_opts o = {.argv = argv, .capture = true, .setenv = env};
	size_t n = 0;
	int r;

	snprintf(path, sizeof(path), "PATH=%s:%s", programs ? programs : "",
		inherited ? inherited : "/usr/sbin:/usr/bin:/sbin:/bin");
	snprintf(library, sizeof(library), "LD_PRELOAD=%s", preload ? preload : "");
	if (programs)
		env[n++] = path;
	if (preload)
		env[n++] = library;
	r = child_start(ret, &o);
	return r < 0 ? err_sys(e, -r, "starting %s %s", argv[0], argv[1]) : 0;
}

int runc_checkpoint_start(const struct runc_checkpoint *c, struct child *ret, struct err *e)
{
	const char *argv[24];
	char server[32];
	size_t n = 0;

	argv[n++] = "runc";
	argv[n++] = "checkpoint";
	argv[n++] = "--image-path";
	argv[n++] = c->images;
	argv[n++] = "--work-path";
	argv[n++] = c->work;
	if (c->lazy) {
		snprintf(server, sizeof(server), "127.0.0.1:%u", c->lazy_port);
		argv[n++] = "--lazy-pages";
		argv[n++] = "--page-server";
		argv[n++] = server;
	}
	if (c->leave_running)
		argv[n++] = "--leave-running";
	if (c->file_locks)
		argv[n++] = "--file-locks";
	if (c->tcp_established)
		argv[n++] = "--tcp-established";
	argv[n++] = c->id;
	argv[n] = NULL;
	return start_runc(argv, c->programs, c->preload, ret, e);
}

int runc_restore_start(const struct runc_restore *o, struct child *ret, struct err *e)
{
	const char *argv[24];
	size_t n = 0;

	argv[n++] = "runc";
	argv[n++] = "restore";
	argv[n++] = "--detach";
	argv[n++] = "--image-path";
	argv[n++] = o->images;
	argv[n++] = "--work-path";
	argv[n++] = o->work;
	argv[n++] = "--bundle";
	argv[n++] = o->bundle;
	if (o->lazy)
		argv[n++] = "--lazy-pages";
	if (o->file_locks)
		argv[n++] = "--file-locks";
	if (o->tcp_established)
		argv[n++] = "--tcp-established";
	argv[n++] = o->id;
	argv[n] = NULL;
	return start_runc(argv, o->programs, o->preload, ret, e);
}

/*
 * A restore that was killed leaves the root file system mounted in runc's directory of the
 * container ("criu-root", in libcontainer/criu_linux.go), and "runc delete" removes that directory
 * with everything below it: it would empty the container's root file system.
 */
static int detach_mounts(const char *id)
{
	char prefix[sizeof(RUNC_ROOT) + CONTAINER_ID_MAX + 8];
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	int r = 0;

	if (!f)
		return -errno;
	snprintf(prefix, sizeof(prefix), "%s/%s/", RUNC_ROOT, id);
	while ((m = getmntent(f)))
		if (strncmp(m->mnt_dir, prefix, strlen(prefix)) == 0 &&
			umount2(m->mnt_dir, MNT_DETACH) < 0 && errno != EINVAL)
			r = -errno;
	endmntent(f);
	return r;
}

void runc_forget_checkpoint(const char *id)
{
	char path[sizeof(RUNC_ROOT) + CONTAINER_ID_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s/checkpoint", RUNC_ROOT, id);
	unlink(path);
}

void runc_forget_restore(const char *id)
{
	char path[sizeof(RUNC_ROOT) + CONTAINER_ID_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s/criu-root", RUNC_ROOT, id);
	if (detach_mounts(id) == 0)
		rmdir(path);
}

int runc_delete(const char *id, struct err *e)
{
	const char *argv[] = {"runc", "delete", "--force", id, NULL};
	_cleanup_free_ char *out = NULL;
	int r = detach_mounts(id);

	if (r < 0)
		return err_sys(e, -r, "unmounting what is left in %s/%s", RUNC_ROOT, id);
	r = child_run(argv, OUTPUT_MAX, &out, deadline_in_ms(QUICK_MS));
	if (r < 0)
		return err_sys(e, -r, "runc delete %s", id);
	if (r > 0)
		return err_set(e, ERR_LOCAL, EIO, "runc delete %s: %s", id, out);
	/* runc doesn't know the cgroup of a restore that was killed before it was noted, in which its CRIU ends. */
	cgroup_remove_default(id, deadline_in_ms(CRIU_ENDS_MS));
	return 0;
}

bool program_version(const char *program, char *ret, size_t size)
{
	const char *argv[] = {program, "--version", NULL};
	_cleanup_free_ char *out = NULL;
	size_t len;
	char *p;

	if (child_run(argv, OUTPUT_MAX, &out, deadline_in_ms(QUICK_MS)) != 0)
		return false;
	p = out + strcspn(out, "0123456789");
	len = strspn(p, "0123456789.");
	snprintf(ret, size, "%.*s", (int)len, p);
	return len > 0;
}

uint32_t version_number(const char *text)
{
	unsigned major = 0, minor = 0, patch = 0;

	if (sscanf(text, "%3u.%2u.%2u", &major, &minor, &patch) < 1)
		return 0;
	return major * 10000 + minor * 100 + patch;
}
