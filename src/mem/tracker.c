/* SPDX-License-Identifier: Apache-2.0 */
#include "mem/tracker_backend.h"

#include "base/fd.h"
#include "kernel/vfork.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct tracker {
	const struct tracker_backend *backend;
	struct seen **v; /* owned; each stays where it is */
	size_t n;
};

static const struct tracker_backend *const backends[] = {
	&tracker_write_protect,
	&tracker_soft_dirty,
};

#define N_BACKENDS (sizeof(backends) / sizeof(backends[0]))

int tracker_new_with(const struct tracker_backend *b, struct tracker **ret, struct err *e)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return err_sys(e, ENOMEM, "tracker");
	(*ret)->backend = b;
	return 0;
}

static const struct tracker_backend *find_backend(const char *name)
{
	for (size_t i = 0; i < N_BACKENDS; i++)
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	return NULL;
}

bool tracker_exists(const char *backend)
{
	return find_backend(backend) != NULL;
}

static const struct tracker_backend *find_working(void)
{
	for (size_t i = 0; i < N_BACKENDS; i++)
		if (backends[i]->probe() == 0)
			return backends[i];
	return NULL;
}

int tracker_new(const char *backend, struct tracker **ret, struct err *e)
{
	const struct tracker_backend *b = backend ? find_backend(backend) : find_working();

	if (b && (!backend || b->probe() == 0))
		return tracker_new_with(b, ret, e);
	if (backend)
		err_set(e, ERR_REFUSED, ENOSYS, "this kernel can not track memory by %s", backend);
	else
		err_set(e, ERR_REFUSED, ENOSYS,
			"this kernel can not track memory (Linux 6.7 can, older ones with soft-dirty)");
	return err_remedy(e, "use mode post or stop");
}

const char *tracker_backend(const struct tracker *t)
{
	return t->backend->name;
}

bool tracker_needs_stop(const struct tracker *t)
{
	return t->backend->needs_stop;
}

static void seen_free(struct seen *s)
{
	fd_close(&s->uffd);
	fd_close(&s->pidfd);
	free(s->frames.v);
	ranges_done(&s->joined);
	process_done(&s->process);
	free(s);
}

void tracker_free(struct tracker *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		seen_free(t->v[i]);
	free(t->v);
	free(t);
}

static bool has_ended(const struct seen *s)
{
	struct pollfd p = {.fd = s->pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

/* The process that has @pid now. What is known of an earlier one stays: others may refer to it. */
static struct seen *find(struct tracker *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++) {
		struct seen *s = t->v[i];

		if (s->process.pid != pid || s->ended)
			continue;
		s->ended = has_ended(s);
		if (!s->ended)
			return s;
	}
	return NULL;
}

/* NULL with errno. */
static struct seen *add(struct tracker *t, pid_t pid)
{
	struct seen **bigger = realloc(t->v, (t->n + 1) * sizeof(*bigger)), *s;
	int pidfd;

	if (!bigger)
		return NULL;
	t->v = bigger;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s) {
		fd_close(&pidfd);
		return NULL;
	}
	s->is_new = true;
	s->uffd = -1;
	s->pidfd = pidfd;
	s->process = PROCESS_INIT;
	s->process.pid = pid;
	return t->v[t->n++] = s;
}

int tracked_all(const struct seen *s, struct tracked *ret)
{
	ret->untracked = true;
	return process_populated(&s->process, true, &ret->written);
}

/* With one that has been seen before and has marks of its own (clone(2) with CLONE_VM, vfork(2)). */
static bool shares_memory(const struct tracker *t, const struct seen *s)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct seen *o = t->v[i];

		if (o != s && !o->ended && !o->shares_memory &&
			syscall(SYS_kcmp, s->process.pid, o->process.pid, KCMP_VM, 0, 0) == 0)
			return true;
	}
	return false;
}

static int scan_memory(struct tracker *t, struct seen *s, bool last, struct tracked *ret)
{
	ret->process = &s->process;
	/* Sharing begins at a process's birth or never, and may end. */
	if (s->is_new || s->shares_memory)
		s->shares_memory = shares_memory(t, s);
	s->is_new = false;
	return s->shares_memory ? tracked_all(s, ret) : t->backend->scan(s, last, ret);
}

static bool is_among(pid_t pid, const pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* Those that aren't any more: their descriptors would add up. */
static void drop_others(struct tracker *t, const pid_t *pids, size_t n)
{
	for (size_t i = t->n; i-- > 0;)
		if (!is_among(t->v[i]->process.pid, pids, n)) {
			seen_free(t->v[i]);
			t->v[i] = t->v[--t->n];
		}
}

/* 0 with ret->process NULL: it has no memory, or not yet one of its own. */
static int scan_one(struct tracker *t, pid_t pid, bool last, struct tracked *ret)
{
	struct seen *s;
	int r;

	/* It would soon be reported as a whole, and has what its parent has, until it calls exec. */
	if (!last && vfork_borrows(pid))
		return 0;
	s = find(t, pid);
	if (!s)
		s = add(t, pid);
	if (!s)
		return -errno;
	r = process_refresh(&s->process);
	if (r == 0 && s->process.n_regions > 0)
		r = scan_memory(t, s, last, ret);
	/* Else what was opened by its pid may be another process's. */
	return r == 0 && has_ended(s) ? -ESRCH : r;
}

int tracker_scan(struct tracker *t, const pid_t *pids, size_t n, bool last, struct tracker_scan *ret,
	struct err *e)
{
	*ret = TRACKER_SCAN_INIT;
	ret->v = calloc(n ? n : 1, sizeof(*ret->v));
	if (!ret->v)
		return err_sys(e, ENOMEM, "tracker");
	drop_others(t, pids, n);
	for (size_t i = 0; i < n; i++) {
		struct tracked *now = &ret->v[ret->n];
		int r = scan_one(t, pids[i], last, now);

		if (r == 0 && now->process) {
			ret->pages += BYTES_TO_PAGES(ranges_bytes(&now->written));
			ret->n++;
			continue;
		}
		ranges_done(&now->written);
		*now = (struct tracked){0};
		if (r < 0 && r != -ESRCH && r != -ENOENT)
			return err_sys(e, -r, "tracking the memory of process %d", pids[i]);
	}
	return 0;
}

/* One that can't be looked at has ended; what can't be joined stays apart until the next scan. */
void tracker_join(struct tracker *t)
{
	for (size_t i = 0; t->backend->join && i < t->n; i++)
		if (!t->v[i]->ended && !t->v[i]->shares_memory)
			t->backend->join(t->v[i]);
}

void tracker_scan_done(struct tracker_scan *s)
{
	for (size_t i = 0; s->v && i < s->n; i++)
		ranges_done(&s->v[i].written);
	free(s->v);
	*s = TRACKER_SCAN_INIT;
}
