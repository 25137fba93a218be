/* SPDX-License-Identifier: Apache-2.0 */
#include "check/check.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "check/owner.h"
#include "kernel/status.h"
#include "kernel/uffd.h"
#include "mem/tracker.h"
#include "net/address.h"
#include "oci/cgroup.h"
#include "sync/digest.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EAGER_WARN (32u << 20) /* some 50 ms of the freeze */
#define PROGRAM_MS 20000
#define OUTPUT_MAX 65536
#define PROC_MAX (16u << 20)
#define CRIU_OLDEST 40000u /* 4.0 */
#define CRIU_FIXED 40200u  /* sockets on kernels since 6.16: CRIU issue 2705 */

void verdict_add(struct verdicts *l, const char *name, enum check_level level, const char *remedy,
	const char *fmt, ...)
{
	struct verdict *v;
	va_list ap;

	if (l->n == VERDICTS_MAX)
		return;
	v = &l->v[l->n++];
	*v = (struct verdict){.level = level};
	snprintf(v->name, sizeof(v->name), "%s", name);
	snprintf(v->remedy, sizeof(v->remedy), "%s", remedy ? remedy : "");
	va_start(ap, fmt);
	vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
	va_end(ap);
	/* The name of a file in the container, say. */
	text_clean(v->reason);
	text_clean(v->remedy);
}

void verdict_error(struct verdicts *l, const char *name, const struct err *e)
{
	verdict_add(l, name, CHECK_NO, e->remedy, "%s", e->text);
}

bool verdicts_allow(const struct verdicts *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].level == CHECK_NO)
			return false;
	return true;
}

/* --- a host -------------------------------------------------------------------------------- */

static bool kernel_at_least(const char *release, unsigned major, unsigned minor)
{
	unsigned a = 0, b = 0;

	return sscanf(release, "%u.%u", &a, &b) == 2 && (a > major || (a == major && b >= minor));
}

/* It tries some things with processes of its own, which it ends. */
static void check_criu(const struct host_facts *f, struct verdicts *ret)
{
	const char *argv[] = {"criu", "check", NULL};
	const char *lazy[] = {"criu", "check", "--feature", "uffd-noncoop", NULL};
	_cleanup_free_ char *out = NULL;
	uint32_t version = version_number(f->criu_version);
	int r;

	if (!f->criu_version[0]) {
		verdict_add(ret, "criu", CHECK_NO, "install criu 4.2 or newer", "no criu here");
	} else if (version < CRIU_OLDEST) {
		verdict_add(ret, "criu", CHECK_NO, "install criu 4.2 or newer",
			"criu %s is too old", f->criu_version);
	} else if (version < CRIU_FIXED && kernel_at_least(f->kernel, 6, 16)) {
		verdict_add(ret, "criu", CHECK_NO, "install criu 4.2 or newer",
			"criu %s can not dump internet sockets on Linux %s", f->criu_version,
			f->kernel);
	} else if ((r = child_run_whole(argv, OUTPUT_MAX, &out, deadline_in_ms(PROGRAM_MS))) != 0) {
		verdict_add(ret, "criu", CHECK_NO, "run 'criu check' and see what it misses",
			"'criu check' failed: %s", r < 0 ? strerror(-r) : out);
	} else if (child_run_whole(lazy, 0, NULL, deadline_in_ms(PROGRAM_MS)) != 0) {
		verdict_add(ret, "criu", CHECK_NO, "use a kernel with CONFIG_USERFAULTFD",
			"criu has no lazy pages on this kernel");
	} else {
		verdict_add(ret, "criu", CHECK_OK, NULL, "%s works on Linux %s", f->criu_version,
			f->kernel);
	}
}

static void check_runc(const struct host_facts *f, struct verdicts *ret)
{
	if (f->runc_version[0])
		verdict_add(ret, "runc", CHECK_OK, NULL, "%s", f->runc_version);
	else
		verdict_add(ret, "runc", CHECK_NO, "install it: apt-get install runc",
			"no runc here");
}

static void check_tools(struct verdicts *ret)
{
	static const char *const needed[] = {"tar", "gzip"};
	char version[64];

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!program_version(needed[i], version, sizeof(version)))
			verdict_add(ret, "tools", CHECK_NO, "install it",
				"no %s here: CRIU archives tmpfs mounts with it", needed[i]);
}

static void check_uffd(struct verdicts *ret)
{
	int fd = uffd_open(0);

	if (fd < 0)
		verdict_add(ret, "userfaultfd", CHECK_NO, "use a kernel with CONFIG_USERFAULTFD",
			"can not be opened: %s", strerror(-fd));
	else
		verdict_add(ret, "userfaultfd", CHECK_OK, NULL, "works");
	fd_close(&fd);
}

static void check_cgroup(struct verdicts *ret)
{
	if (!cgroup_is_mounted())
		verdict_add(ret, "cgroup", CHECK_NO, "boot with systemd.unified_cgroup_hierarchy=1",
			"cgroup version 2, by which containers are frozen, is not mounted here");
}

static void check_tracking(struct verdicts *ret)
{
	struct tracker *t = NULL;
	struct err e = ERR_INIT;

	if (tracker_new(NULL, &t, &e) < 0)
		verdict_add(ret, "tracking", CHECK_WARN, "use Linux 6.7 or newer",
			"nothing can be copied from here while it runs: %s", e.text);
	else
		verdict_add(ret, "tracking", CHECK_OK, NULL, "%s%s", tracker_backend(t),
			tracker_needs_stop(t) ? ", which stops a container for a moment each round"
					      : "");
	tracker_free(t);
}

void check_host(const struct host_facts *f, struct verdicts *ret)
{
	if (geteuid() != 0) {
		verdict_add(ret, "root", CHECK_NO, "run it as root", "needs root");
		return;
	}
	if (sysconf(_SC_PAGESIZE) != (long)PAGE_BYTES)
		verdict_add(ret, "page size", CHECK_NO, "use a kernel with pages of 4 KiB",
			"pages of %ld bytes", sysconf(_SC_PAGESIZE));
	check_criu(f, ret);
	check_runc(f, ret);
	check_tools(ret);
	check_uffd(ret);
	check_cgroup(ret);
	check_tracking(ret);
}

/* --- a container --------------------------------------------------------------------------- */

static bool check_running(const struct container_facts *f, struct verdicts *ret)
{
	if (strcmp(f->c.status, "running") != 0) {
		verdict_add(ret, "running", CHECK_NO, "start it, or 'runc resume' a paused one",
			"container \"%s\" is %s", f->c.id, f->c.status);
		return false;
	}
	if (!f->c.cgroup[0]) {
		verdict_add(ret, "running", CHECK_NO,
			"use cgroup version 2 (systemd.unified_cgroup_hierarchy=1)",
			"container \"%s\" has no cgroup of its own that can be frozen", f->c.id);
		return false;
	}
	if (cgroup_is_frozen(f->c.cgroup)) {
		verdict_add(ret, "running", CHECK_NO, "thaw it (cgroup.freeze)",
			"container \"%s\" is frozen, by its cgroup or one above it", f->c.id);
		return false;
	}
	verdict_add(ret, "running", CHECK_OK, NULL, "%zu processes", f->n_pids);
	return true;
}

/* Only what no namespace of the container can name. Returns NULL for what CRIU can dump. */
static const char *undumpable(const char *target)
{
	if (strstr(target, "io_uring"))
		return "CRIU does not support io_uring";
	if (strstr(target, "userfaultfd"))
		return "CRIU does not support processes that use userfaultfd themselves";
	return NULL;
}

static int stat_inside(pid_t pid, const char *target, struct stat *ret)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "/proc/%d/root%s", pid, target) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return stat(path, ret) < 0 ? -errno : 0;
}

/* An entry of the container's own /proc of a process that has ended since: CRIU restores these, too. */
static bool is_of_dead(pid_t pid, const struct stat *st)
{
	struct stat proc;

	return stat_inside(pid, "/proc", &proc) == 0 && proc.st_dev == st->st_dev;
}

/* A path of a descriptor, seen from the root of process @pid: does it exist there? Of a process that ends
 * nothing does. */
static bool is_inside(pid_t pid, const char *target, const struct stat *st)
{
	struct stat there;
	int r;

	if (strstr(target, " (deleted)"))
		return true;
	r = stat_inside(pid, target, &there);
	if (r == -ENAMETOOLONG)
		return true;
	if (r == -ENOENT)
		return is_of_dead(pid, st);
	return r == 0 && there.st_ino == st->st_ino && there.st_rdev == st->st_rdev;
}

/* The kernel takes a process's files before its root (do_exit() in kernel/exit.c): one that still has them has
 * had its root until now. */
static bool has_closed(const char *fd)
{
	struct stat st;

	return stat(fd, &st) < 0;
}

/* @init: the container's. Others may have another root (chroot(2)), and then files open that they can't name. */
static void check_file(pid_t init, pid_t pid, const char *fd, struct verdicts *ret)
{
	char path[300], target[PATH_MAX];
	const char *why;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0 || stat(path, &st) < 0)
		return;
	target[n] = '\0';
	why = undumpable(target);
	if (why)
		verdict_add(ret, "open files", CHECK_NO, "turn it off in the application",
			"process %d: %s", pid, why);
	else if (target[0] == '/' && (S_ISREG(st.st_mode) || S_ISCHR(st.st_mode)) &&
		!is_inside(init, target, &st) && !is_inside(pid, target, &st) && !has_closed(path))
		verdict_add(ret, "open files", CHECK_NO,
			"start the container with input and output to /dev/null or to files inside",
			"process %d has %s open, which is outside the container", pid, target);
}

static void check_files(const struct container_facts *f, struct verdicts *ret)
{
	size_t before = ret->n;

	for (size_t i = 0; i < f->n_pids; i++) {
		char path[64];
		struct dirent *entry;
		DIR *d;

		snprintf(path, sizeof(path), "/proc/%d/fd", f->pids[i]);
		d = opendir(path);
		while (d && (entry = readdir(d)))
			if (entry->d_name[0] != '.')
				check_file(f->c.pid, f->pids[i], entry->d_name, ret);
		if (d)
			closedir(d);
	}
	if (ret->n == before)
		verdict_add(ret, "open files", CHECK_OK, NULL, "can be dumped");
}

static void check_traced(const struct container_facts *f, struct verdicts *ret)
{
	for (size_t i = 0; i < f->n_pids; i++) {
		pid_t tracer = process_tracer(f->pids[i]);

		if (tracer != 0)
			verdict_add(ret, "debugger", CHECK_NO, "end the debugger or strace",
				"process %d is traced by %d", f->pids[i], tracer);
	}
}

/* keepalived's instance, in the state that it must have. False, with a "no", if it hasn't. */
static bool check_vrrp(const struct address *a, enum vrrp_state wanted, struct verdicts *ret)
{
	enum vrrp_state state = vrrp_state(&a->vrrp);
	char track[64], remedy[160];
	int r = vrrp_steerable(&a->vrrp);

	vrrp_track_path(&a->vrrp, track);
	if (r < 0) {
		verdict_add(ret, "vrrp", CHECK_NO, "let keepalived track it: examples/keepalived",
			"%s: %s", track, strerror(-r));
		return false;
	}
	if (state == wanted) {
		verdict_add(ret, "vrrp", CHECK_OK, NULL, "instance %s is %s", a->vrrp.name,
			vrrp_state_name(state));
		return true;
	}
	if (state == VRRP_UNKNOWN)
		snprintf(remedy, sizeof(remedy), "start it, with the notify script of examples/keepalived");
	else if (state == VRRP_MASTER)
		snprintf(remedy, sizeof(remedy), "see that the hosts hear each other's VRRP, on %s", a->interface);
	else
		snprintf(remedy, sizeof(remedy), "see its log; %d in %s, if the container %s here",
			wanted == VRRP_MASTER, track, wanted == VRRP_MASTER ? "is" : "is not");
	verdict_add(ret, "vrrp", CHECK_NO, remedy, "keepalived's instance %s is in state %s here, not %s",
		a->vrrp.name, vrrp_state_name(state), vrrp_state_name(wanted));
	return false;
}

static void check_address(const struct container_facts *f, struct verdicts *ret)
{
	struct err e = ERR_INIT;
	struct address a;

	if (!f->config.address && f->config.own_network)
		return;
	if (!f->config.address) {
		verdict_add(ret, "address", CHECK_WARN,
			"set the annotation org.godwit.address to \"ADDRESS/PREFIX dev INTERFACE\"",
			"no floating address: peers will not find the container on the target");
		return;
	}
	if (address_parse(f->config.address, &a, &e) < 0)
		verdict_error(ret, "address", &e);
	else if (address_is_vrrp(&a) && !check_vrrp(&a, VRRP_MASTER, ret))
		return;
	else if (address_present(&a) != 1)
		verdict_add(ret, "address", CHECK_NO, "add it with 'ip addr add', or mend the annotation",
			"this host does not have %s", a.text);
	else
		verdict_add(ret, "address", CHECK_OK, NULL, "%s", a.text);
}

/* What CRIU writes into images takes its time within the freeze: reading, sending, restoring. */
static void check_eager(const struct container_facts *f, struct verdicts *ret)
{
	const struct eager *g = &f->eager;
	uint64_t total = eager_total(g);

	if (total < EAGER_WARN)
		verdict_add(ret, "frozen memory", CHECK_OK, NULL, "%.1f MB can only be sent frozen",
			(double)total / 1e6);
	else
		verdict_add(ret, "frozen memory", CHECK_WARN,
			"expect a longer freeze, or let it keep less there",
			"%.0f MB can only be sent while it stands still: tmpfs %.0f, shared memory %.0f, "
			"locked %.0f, huge pages %.0f, written file mappings %.0f",
			(double)total / 1e6, (double)g->tmpfs / 1e6, (double)g->shared / 1e6,
			(double)g->locked / 1e6, (double)g->huge / 1e6,
			(double)g->written_files / 1e6);
}

static void check_connections(const struct container_facts *f, struct verdicts *ret)
{
	struct address a;
	bool moves = f->config.address && address_parse(f->config.address, &a, NULL) == 0;
	size_t n = f->config.own_network ? 0 : connections_that_stay(f->pids, f->n_pids, moves ? &a : NULL);

	if (n > 0)
		verdict_add(ret, "connections", CHECK_NO,
			"let it use the floating address for them, or end them",
			"%zu TCP connections are bound to addresses of this host that stay here", n);
}

void check_container(const struct container_facts *f, struct verdicts *ret)
{
	if (!check_running(f, ret))
		return;
	if (f->config.terminal)
		verdict_add(ret, "terminal", CHECK_NO,
			"set process.terminal to false in config.json and start it again",
			"the container has a terminal, which can not move");
	check_files(f, ret);
	check_traced(f, ret);
	check_address(f, ret);
	check_network(f, ret);
	check_eager(f, ret);
	check_connections(f, ret);
}

/* --- an offer ------------------------------------------------------------------------------ */

static void check_arch(const struct offered *o, const struct host_facts *here, struct verdicts *ret)
{
	if (strcmp(o->arch, here->arch) != 0)
		verdict_add(ret, "architecture", CHECK_NO, "choose a target of the same kind",
			"the source is %s, this host %s", o->arch, here->arch);
}

static bool has_word(const char *text, const char *word, size_t len)
{
	for (const char *p = text; (p = strstr(p, word)); p += len)
		if ((p == text || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
			return true;
	return false;
}

/* Features that the source's programs may have found and use. */
static void check_cpu(const struct offered *o, const struct host_facts *here, struct verdicts *ret)
{
	char missing[256] = "", word[64];
	size_t n = 0;

	for (const char *p = o->cpu_features; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		snprintf(word, sizeof(word), "%.*s", (int)len, p);
		if (!has_word(here->cpu_features, word, strlen(word)) && n < sizeof(missing) - 70)
			n += (size_t)snprintf(missing + n, sizeof(missing) - n, " %s", word);
		p += len;
	}
	if (n > 0)
		verdict_add(ret, "processor", CHECK_NO,
			"choose a target with the same or a newer processor",
			"this host lacks what programs on the source may use:%s", missing);
	else
		verdict_add(ret, "processor", CHECK_OK, NULL, "has all that the source's has");
}

static void check_versions(const struct offered *o, const struct host_facts *here, struct verdicts *ret)
{
	uint32_t version = version_number(here->criu_version);

	if (version / 100 < o->criu_version / 100)
		verdict_add(ret, "criu version", CHECK_NO, "install the source's version or a newer one",
			"the source's criu is %u.%u, this host's %s", o->criu_version / 10000,
			o->criu_version / 100 % 100, here->criu_version);
}

static void check_name(const struct offered *o, struct verdicts *ret)
{
	struct container c;
	struct err e = ERR_INIT;

	if (runc_state(o->id, &c, &e) == 0)
		verdict_add(ret, "name", CHECK_NO, "delete or rename it on the target",
			"there is a container \"%s\" here already (%s)", o->id, c.status);
	else
		verdict_add(ret, "name", CHECK_OK, NULL, "\"%s\" is free", o->id);
}

static void check_rootfs(const struct offered *o, const char *rootfs, struct verdicts *ret)
{
	uint8_t digest[DIGEST_LEN];
	struct err e = ERR_INIT;
	char remedy[300];

	snprintf(remedy, sizeof(remedy), "on the source: rsync -aHAX --delete %s/ TARGET:%s/",
		o->bundle, o->bundle);
	if (path_check_parent(rootfs, &e) < 0)
		verdict_error(ret, "rootfs", &e);
	else if (digest_tree(rootfs, digest, &e) < 0)
		verdict_add(ret, "rootfs", CHECK_NO, remedy, "%s", e.text);
	else if (memcmp(digest, o->rootfs_digest, DIGEST_LEN) != 0)
		verdict_add(ret, "rootfs", CHECK_NO, remedy, "%s differs from the source's", rootfs);
	else
		verdict_add(ret, "rootfs", CHECK_OK, NULL, "%s is identical", rootfs);
}

static void check_binds(const struct oci_config *c, struct verdicts *ret)
{
	for (size_t i = 0; i < c->n_bind_sources; i++)
		if (access(c->bind_sources[i], F_OK) < 0)
			verdict_add(ret, "mounts", CHECK_NO, "make it available here, with the same contents",
				"%s, which the container mounts, is missing", c->bind_sources[i]);
}

/* Where nobody else has it, VRRP may have given it to this host already. */
static bool is_here_already(const struct address *a, bool kept)
{
	return kept && address_is_vrrp(a) && vrrp_state(&a->vrrp) == VRRP_MASTER;
}

static void check_new_address(const struct oci_config *c, bool kept, struct verdicts *ret)
{
	struct err e = ERR_INIT;
	struct address a;

	if (!c->address)
		return;
	if (address_parse(c->address, &a, &e) < 0)
		verdict_error(ret, "address", &e);
	else if (address_interface_up(&a) != 1)
		verdict_add(ret, "address", CHECK_NO, "create it or set it up: ip link set DEV up",
			"interface %s is missing or down", a.interface);
	else if (is_here_already(&a, kept))
		verdict_add(ret, "address", CHECK_OK, NULL, "%s is here", a.text);
	else if (address_is_vrrp(&a) && !check_vrrp(&a, VRRP_BACKUP, ret))
		return;
	else if (address_present(&a) == 1)
		verdict_add(ret, "address", CHECK_NO, "remove it with 'ip addr del'",
			"this host has %s already: two hosts would answer for it", a.text);
	else
		verdict_add(ret, "address", CHECK_OK, NULL, "%s can come here", a.text);
}

static void check_ports(const struct offered *o, struct verdicts *ret)
{
	struct listener *here = calloc(LISTENERS_MAX, sizeof(*here));
	size_t n = here ? listeners_read(NULL, 0, here, LISTENERS_MAX) : 0;

	for (size_t i = 0; i < o->n_listeners; i++)
		for (size_t k = 0; k < n; k++)
			if (listeners_collide(&o->listeners[i], &here[k])) {
				verdict_add(ret, "ports", CHECK_NO,
					"stop what uses it: 'ss -lnptu' shows it",
					"%s port %u is taken on this host",
					o->listeners[i].protocol == 6 ? "TCP" : "UDP",
					o->listeners[i].port);
				break;
			}
	free(here);
}

/* config.json must be the same byte for byte, since CRIU restores what it says. */
static void check_bundle(const struct offered *o, struct verdicts *ret)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX], remedy[300];
	struct oci_config c;
	struct err e = ERR_INIT;
	size_t len = 0;
	int r;

	snprintf(remedy, sizeof(remedy), "on the source: rsync -aHAX --delete %.100s/ TARGET:%.100s/",
		o->bundle, o->bundle);
	if (snprintf(path, sizeof(path), "%s/config.json", o->bundle) >= (int)sizeof(path))
		r = -ENAMETOOLONG;
	else
		r = access(path, F_OK) < 0 ? -errno : 0;
	if (r == 0 && path_check_owner(path, &e) < 0) {
		verdict_error(ret, "bundle", &e);
		return;
	}
	if (r == 0)
		r = file_read(path, OCI_CONFIG_MAX, &text, &len);
	if (r < 0) {
		verdict_add(ret, "bundle", CHECK_NO, remedy, "%s: %s", path, strerror(-r));
		return;
	}
	if (!text || len != o->config_len || memcmp(text, o->config_text, len) != 0) {
		verdict_add(ret, "bundle", CHECK_NO, remedy, "%s differs from the source's", path);
		return;
	}
	if (oci_config_parse(text, len, o->bundle, &c, &e) < 0) {
		verdict_error(ret, "bundle", &e);
		return;
	}
	verdict_add(ret, "bundle", CHECK_OK, NULL, "%s is identical", path);
	check_rootfs(o, c.rootfs, ret);
	check_binds(&c, ret);
	check_new_address(&c, o->kept, ret);
	check_new_network(&c, ret);
	if (!c.own_network)
		check_ports(o, ret);
	oci_config_done(&c);
}

static void check_memory(const struct offered *o, struct verdicts *ret)
{
	_cleanup_free_ char *text = NULL;
	unsigned long long kb = 0;
	const char *p;

	if (file_read("/proc/meminfo", PROC_MAX, &text, NULL) < 0)
		return;
	p = strstr(text, "MemAvailable:");
	if (!p || sscanf(p, "MemAvailable: %llu", &kb) != 1)
		return;
	/* A sixth more than it says, and it may say anything. */
	if (o->memory_bytes > kb * 1024 / 7 * 6)
		verdict_add(ret, "memory", CHECK_NO, "free memory on the target, or choose another",
			"%llu MB are available, the container has %llu MB", kb / 1000,
			(unsigned long long)(o->memory_bytes / 1000000));
	else
		verdict_add(ret, "memory", CHECK_OK, NULL, "%llu MB available, %llu MB needed",
			kb / 1000, (unsigned long long)(o->memory_bytes / 1000000));
}

void check_offer(const struct offered *o, const struct host_facts *here, struct verdicts *ret)
{
	check_host(here, ret);
	check_arch(o, here, ret);
	check_cpu(o, here, ret);
	check_versions(o, here, ret);
	check_name(o, ret);
	check_bundle(o, ret);
	check_memory(o, ret);
}
