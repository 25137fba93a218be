/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checker PROCESSES MB [SEED [LARGE [PACE]]]: processes of three threads each, which do to their memory
 * whatever Linux allows and verify every page by content, for ever. A page's content follows from
 * the seed, the page's identity (whose it is, in which region, at which place) and how often it was
 * written; so a page that is wrong tells what it is: none at all, an older one, or a neighbour's.
 * With LARGE there is one more, of one thread, whose plain regions have LARGE MB each; most of the
 * time the list of its regions stays as it is. It takes what processor there is; with PACE the naps in
 * between are so many times as long.
 *
 * /run/status says "ok N, M operations": each thread has verified all it has N times; or "WRONG ..."
 * with what was expected and what was found, or who has made no progress.
 *
 * checker traced: a process under ptrace, which can't be moved.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define HUGE (2u << 20)
#define THREADS 3
#define ARENAS_MAX 240 /* threads that verify memory of their own */
#define REGIONS 8
#define OPERATIONS_PER_PASS 20
#define CALM_PASSES 4 /* of a large arena, all but one */
#define JOINED_TRIES 200
#define WHOLE_TRIES 50 /* then it is moved as it is: without a tracker the kernel can */
#define FREED (1u << 31) /* of a version: or zero, as MADV_FREE may have it */
#define FILE_OWNER 0xffffu
#define FILE_PATH "/run/checker.file"
#define STATUS_PATH "/run/status"
#define WRONG_PATH "/run/wrong"
#define HANG_S 40

enum kind { ANONYMOUS, HUGE_PAGES, LOCKED, SHARED, FILE_PRIVATE, EXECUTABLE, ZERO_DEVICE, KINDS };

struct region {
	enum kind kind;
	uint32_t number, pages, most;
	uint8_t *p;
	uint32_t *version; /* of each page; 0: never written */
	int protection;
	uint32_t guard; /* 1 + the page that is a guard, or 0 */
	bool withheld; /* from children */
};

/* What one thread has. */
struct arena {
	uint32_t owner;
	uint64_t random;
	struct region r[REGIONS];
	pid_t stopped, lasting; /* children, or 0 */
	unsigned operations;
	bool calm; /* nothing wild (see operations) */
};

/* Seen by all. */
struct board {
	atomic_uint passes[ARENAS_MAX], operations[ARENAS_MAX];
	const char *_Atomic doing[ARENAS_MAX];
};

static uint64_t seed = 1;
static struct board *board;
static unsigned n_arenas;
static long pace = 1; /* of all naps: many processes shall not take more of the machine than few */
static pid_t first_process;

/* --- what is said -------------------------------------------------------------------------- */

static void put(const char *path, const char *text)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/run/new.%ld", syscall(SYS_gettid));
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(3);
	close(fd);
	rename(name, path);
}

/* The first process ends all others and stays, so that its status can be read. */
__attribute__((noreturn)) static void stop_all(void)
{
	kill(-1, SIGKILL);
	rename(WRONG_PATH, STATUS_PATH);
	for (;;)
		pause();
}

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *format, ...)
{
	char text[512], line[600];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "WRONG process %d: %s\n", getpid(), text);
	/* What was found first stands. */
	if (access(WRONG_PATH, F_OK) < 0)
		put(WRONG_PATH, line);
	if (getpid() == first_process)
		stop_all();
	_exit(1);
}

/* --- pages --------------------------------------------------------------------------------- */

struct identity {
	uint32_t owner, region, page, version;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

static void fill(uint64_t *page, struct identity id)
{
	uint64_t x = mix(seed ^ mix((uint64_t)id.owner << 32 | id.region) ^
		mix((uint64_t)id.page << 32 | id.version));

	page[0] = (uint64_t)id.owner << 32 | id.region;
	page[1] = (uint64_t)id.page << 32 | id.version;
	for (size_t i = 2; i < WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = i % 4 ? x : 0; /* compressible by a quarter */
	}
}

static bool is_zero(const uint64_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - sizeof(page[0])) == 0;
}

static bool is_page(const uint64_t *page, struct identity id)
{
	uint64_t want[WORDS];

	fill(want, id);
	return memcmp(want, page, PAGE) == 0;
}

/* What a page that should have been @want is instead. */
static void describe(const uint64_t *page, struct identity want, char *ret, size_t size)
{
	struct identity is = {(uint32_t)(page[0] >> 32), (uint32_t)page[0],
		(uint32_t)(page[1] >> 32), (uint32_t)page[1]};
	uint64_t good[WORDS];
	size_t i = 0;

	if (is_zero(page)) {
		snprintf(ret, size, "a zero page");
	} else if (is_page(page, is)) {
		snprintf(ret, size, "page %u of region %u of %u, version %u", is.page, is.region,
			is.owner, is.version);
	} else {
		fill(good, want);
		while (((uint8_t *)good)[i] == ((const uint8_t *)page)[i])
			i++;
		snprintf(ret, size, "byte %zu is %02x and not %02x, header %016llx %016llx", i,
			((const uint8_t *)page)[i], ((uint8_t *)good)[i],
			(unsigned long long)page[0], (unsigned long long)page[1]);
	}
}

/* --- regions ------------------------------------------------------------------------------- */

static uint64_t *page_at(const struct region *r, uint32_t page)
{
	return (uint64_t *)(r->p + (size_t)page * PAGE);
}

static void check_page(const struct arena *a, const struct region *r, uint32_t i, const char *where)
{
	uint32_t version = r->version[i];
	struct identity want = {a->owner, r->number, i, version & ~FREED};
	const uint64_t *page = page_at(r, i);
	char found[200];

	if (version == 0 && r->kind == FILE_PRIVATE)
		want = (struct identity){FILE_OWNER, 0, i, 1};
	else if ((version == 0 || version & FREED) && is_zero(page))
		return;
	if (want.version > 0 && is_page(page, want))
		return;
	describe(page, want, found, sizeof(found));
	wrong("%s: expected page %u of region %u (kind %d) of %u, version %u%s at %p; found %s", where,
		i, r->number, r->kind, a->owner, version & ~FREED, version & FREED ? " or zero" : "",
		(const void *)page, found);
}

static void write_page(const struct arena *a, struct region *r, uint32_t i)
{
	uint32_t version = (r->version[i] & ~FREED) + 1;

	r->version[i] = version;
	fill(page_at(r, i), (struct identity){a->owner, r->number, i, version});
}

static void must(bool good, const char *what)
{
	if (!good)
		wrong("%s: %s", what, strerror(errno));
}

static void *map(size_t len, int flags, int fd)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	must(p != MAP_FAILED, "mmap");
	return p;
}

static uint8_t *map_huge(size_t len)
{
	uint8_t *p = map(len + HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	size_t before = (HUGE - (uintptr_t)p % HUGE) % HUGE;

	if (before > 0)
		munmap(p, before);
	munmap(p + before + len, HUGE - before);
	madvise(p + before, len, MADV_HUGEPAGE);
	return p + before;
}

static uint8_t *map_file(const char *path, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *p;

	must(fd >= 0, path);
	p = map(len, MAP_PRIVATE, fd);
	close(fd);
	return p;
}

static uint8_t *map_kind(enum kind kind, size_t len)
{
	uint8_t *p;

	switch (kind) {
	case HUGE_PAGES:
		return map_huge(len);
	case SHARED:
		return map(len, MAP_SHARED | MAP_ANONYMOUS, -1);
	case FILE_PRIVATE:
		return map_file(FILE_PATH, len);
	case ZERO_DEVICE:
		return map_file("/dev/zero", len);
	case LOCKED:
		p = map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		mlock(p, len);
		return p;
	default:
		p = map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		madvise(p, len, MADV_NOHUGEPAGE);
		return p;
	}
}

static void protect(struct region *r, int protection)
{
	must(mprotect(r->p, (size_t)r->pages * PAGE, protection) == 0, "mprotect");
	r->protection = protection;
}

/* The kernel's word on whether a page may be read: a fault would be a signal. */
static bool is_readable(const struct region *r, uint32_t page)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC), pipes[2];
	bool readable;

	close(fd);
	must(pipe2(pipes, O_CLOEXEC) == 0, "pipe");
	readable = write(pipes[1], page_at(r, page), 8) == 8;
	close(pipes[0]);
	close(pipes[1]);
	return readable;
}

/* Ends whatever special state the last operation has left it in, which must still hold. */
static void open_region(struct region *r)
{
	if (r->protection == PROT_NONE && is_readable(r, 0))
		wrong("region %u with PROT_NONE can be read", r->number);
	if (r->protection != (PROT_READ | PROT_WRITE))
		protect(r, PROT_READ | PROT_WRITE);
	if (r->guard > 0) {
		if (is_readable(r, r->guard - 1))
			wrong("guard page %u of region %u can be read", r->guard - 1, r->number);
		must(madvise(page_at(r, r->guard - 1), PAGE, MADV_GUARD_REMOVE) == 0, "guard");
		r->guard = 0;
	}
	if (r->withheld)
		must(madvise(r->p, (size_t)r->pages * PAGE, MADV_DOFORK) == 0, "MADV_DOFORK");
	r->withheld = false;
}

static void check_region(const struct arena *a, struct region *r, const char *where)
{
	if (r->protection == PROT_NONE)
		open_region(r);
	for (uint32_t i = 0; i < r->pages; i++)
		if (r->guard != i + 1)
			check_page(a, r, i, where);
}

static void check_arena(struct arena *a, const char *where)
{
	for (unsigned i = 0; i < REGIONS; i++)
		check_region(a, &a->r[i], where);
}

/* --- operations ---------------------------------------------------------------------------- */

static uint32_t random_below(struct arena *a, uint32_t n)
{
	a->random += 0x9e3779b97f4a7c15u;
	return (uint32_t)(mix(a->random) % n);
}

static struct region *any_region(struct arena *a)
{
	struct region *r = &a->r[random_below(a, REGIONS)];

	open_region(r);
	return r;
}

static struct region *region_of(struct arena *a, enum kind kind)
{
	struct region *r = &a->r[kind];

	open_region(r);
	return r;
}

static void nap(long us)
{
	struct timespec ts = {.tv_nsec = us * 1000};

	nanosleep(&ts, NULL);
}

/* @n pages in a row. */
static uint32_t some_pages(struct arena *a, const struct region *r, uint32_t *ret_n)
{
	uint32_t first = random_below(a, r->pages), most = r->pages - first;

	*ret_n = 1 + random_below(a, most > 32 ? 32 : most);
	return first;
}

static void do_write(struct arena *a)
{
	struct region *r = any_region(a);

	for (unsigned i = 0; r->pages > 0 && i < 16; i++)
		write_page(a, r, random_below(a, r->pages));
}

/* By the kernel, for a system call. */
static void do_read_into(struct arena *a)
{
	struct region *r = any_region(a);
	uint32_t i = random_below(a, r->pages), version = (r->version[i] & ~FREED) + 1;
	uint64_t page[WORDS];
	int pipes[2];

	fill(page, (struct identity){a->owner, r->number, i, version});
	must(pipe2(pipes, O_CLOEXEC) == 0, "pipe");
	must(write(pipes[1], page, PAGE) == PAGE, "write");
	must(read(pipes[0], page_at(r, i), PAGE) == PAGE, "read");
	r->version[i] = version;
	close(pipes[0]);
	close(pipes[1]);
}

static void do_discard(struct arena *a)
{
	struct region *r = any_region(a);
	uint32_t n, first = some_pages(a, r, &n);

	if (r->kind == LOCKED || r->kind == SHARED)
		return;
	must(madvise(page_at(r, first), (size_t)n * PAGE, MADV_DONTNEED) == 0, "MADV_DONTNEED");
	memset(r->version + first, 0, n * sizeof(r->version[0]));
	/* Some are read only, some written, some neither. */
	check_page(a, r, first, "discarded");
	write_page(a, r, first + n - 1);
}

static void do_free(struct arena *a)
{
	struct region *r = region_of(a, random_below(a, 2) ? ANONYMOUS : HUGE_PAGES);
	uint32_t n, first = some_pages(a, r, &n);

	must(madvise(page_at(r, first), (size_t)n * PAGE, MADV_FREE) == 0, "MADV_FREE");
	for (uint32_t i = first; i < first + n; i++)
		r->version[i] |= r->version[i] ? FREED : 0;
	write_page(a, r, first);
}

/* The line of a region in /proc/self/maps: does [p, p + len) begin in it, and end there, too? */
static bool line_has(const char *line, uintptr_t p, size_t len, bool *ret_whole)
{
	unsigned long start, end;

	if (sscanf(line, "%lx-%lx ", &start, &end) != 2 || p < start || p >= end)
		return false;
	*ret_whole = p + len <= end;
	return true;
}

/* Is that in one region of the kernel's? By read(2), which ends with a line there, and nothing that would map
 * memory. */
static bool is_whole(const uint8_t *p, size_t len)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool whole = false, found = false;
	char text[PAGE + 1];
	ssize_t n;

	while (!found && (n = read(fd, text, PAGE)) > 0) {
		text[n] = '\0';
		for (char *line = text; !found && line; line = strchr(line, '\n')) {
			line += *line == '\n';
			found = line_has(line, (uintptr_t)p, len, &whole);
		}
	}
	close(fd);
	return whole;
}

/* A region that was unmapped in part and mapped again is in two for a moment if a tracker looked just then. The
 * kernel doesn't move both at once, and from Linux 6.17 on says so when it has moved the first one already
 * (docs/CORRECTNESS.md). */
static uint8_t *remap(uint8_t *p, size_t old_len, size_t len, int flags, uint8_t *to)
{
	uint8_t *now = MAP_FAILED;

	for (unsigned i = 0; i < JOINED_TRIES; i++, nap(10000)) {
		if (i < WHOLE_TRIES && !is_whole(p, old_len))
			continue;
		now = mremap(p, old_len, len, flags, to);
		if (now != MAP_FAILED || errno != EFAULT)
			break;
	}
	return now;
}

/* Onto other pages at addresses that were in use. */
static void do_move(struct arena *a)
{
	struct region *r = any_region(a);
	size_t len = (size_t)r->pages * PAGE;
	uint8_t *junk = map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(junk, 0x5a, len);
	nap(2000);
	r->p = remap(r->p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, junk);
	must(r->p == junk, "mremap");
}

/* Two regions change places. */
static void do_swap(struct arena *a)
{
	struct region *one = region_of(a, ANONYMOUS), *two = region_of(a, EXECUTABLE);
	size_t n1 = (size_t)one->pages * PAGE, n2 = (size_t)two->pages * PAGE;
	uint8_t *p1 = one->p, *p2 = two->p, *away;

	if (n1 != n2)
		return;
	/* Neither place may be free in between: another thread could be given it. */
	away = remap(p1, n1, n1, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	must(away != MAP_FAILED, "mremap");
	two->p = remap(p2, n2, n2, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, p1);
	one->p = remap(away, n1, n1, MREMAP_MAYMOVE | MREMAP_FIXED, p2);
	must(two->p == p1 && one->p == p2, "mremap");
}

static void resize(struct arena *a, struct region *r, uint32_t pages)
{
	uint8_t *p = remap(r->p, (size_t)r->pages * PAGE, (size_t)pages * PAGE, MREMAP_MAYMOVE,
		NULL);

	must(p != MAP_FAILED, "mremap");
	r->p = p;
	for (uint32_t i = r->pages; i < pages; i++)
		r->version[i] = 0;
	r->pages = pages;
	write_page(a, r, pages - 1);
}

static void do_resize(struct arena *a)
{
	struct region *r = region_of(a, random_below(a, 2) ? ANONYMOUS : HUGE_PAGES);

	resize(a, r, r->most / 2 + random_below(a, r->most / 2) + 1);
}

/* Pages go from the middle, others come to their place, then all from there on is new. */
static void do_cut(struct arena *a)
{
	struct region *r = region_of(a, random_below(a, 2) ? ANONYMOUS : HUGE_PAGES);
	uint32_t pages = r->pages, n = pages / 8, first = pages / 2 + random_below(a, pages / 4);
	uint8_t *middle = (uint8_t *)page_at(r, first), *p;

	munmap(middle, (size_t)n * PAGE);
	nap(10000);
	p = mmap(middle, (size_t)n * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	/* Unless another thread has been given the place meanwhile. */
	if (p == middle) {
		memset(r->version + first, 0, n * sizeof(r->version[0]));
		for (uint32_t i = first; i < first + n; i += 3)
			write_page(a, r, i);
		nap(10000);
		check_region(a, r, "with others in the middle");
		munmap(p, (size_t)n * PAGE);
	}
	munmap(page_at(r, first + n), (size_t)(pages - first - n) * PAGE);
	r->pages = first;
	resize(a, r, pages);
	for (uint32_t i = first; i < pages; i += 1 + random_below(a, 3))
		write_page(a, r, i);
}

/* The pages go, the old region stays and is empty. */
static void do_leave_behind(struct arena *a)
{
	struct region *r = region_of(a, ANONYMOUS);
	size_t len = (size_t)r->pages * PAGE;
	uint8_t *p = remap(r->p, len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), *old = r->p;

	must(p != MAP_FAILED, "MREMAP_DONTUNMAP");
	for (size_t i = 0; i < len; i += PAGE)
		if (!is_zero((const uint64_t *)(old + i)))
			wrong("a region left behind by mremap is not empty at %zu", i);
	r->p = p;
	if (random_below(a, 2)) {
		/* Back to where it was. */
		r->p = remap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, old);
		must(r->p == old, "mremap");
	} else {
		munmap(old, len);
	}
}

/* Something new at the old place. */
static void do_replace(struct arena *a)
{
	struct region *r = region_of(a, random_below(a, 2) ? ANONYMOUS : EXECUTABLE);
	size_t len = (size_t)r->pages * PAGE;
	uint8_t *p;

	munmap(r->p, len);
	if (random_below(a, 2))
		p = mmap(r->p, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	else
		p = map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* Another thread may have been given the place meanwhile. */
	r->p = p == MAP_FAILED ? map(len, MAP_PRIVATE | MAP_ANONYMOUS, -1) : p;
	madvise(r->p, len, MADV_NOHUGEPAGE);
	memset(r->version, 0, r->most * sizeof(r->version[0]));
	for (uint32_t i = 0; i < r->pages; i += 1 + random_below(a, 3))
		write_page(a, r, i);
}

static void do_protect(struct arena *a)
{
	static const int how[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_EXEC};
	struct region *r = any_region(a);

	protect(r, r->kind == EXECUTABLE ? PROT_READ | PROT_EXEC : how[random_below(a, 2)]);
}

/* Not the first: a child writes to that. Read only as well, so that the list of regions tells. */
static void do_withhold(struct arena *a)
{
	struct region *r = &a->r[1 + random_below(a, REGIONS - 1)];

	open_region(r);
	must(madvise(r->p, (size_t)r->pages * PAGE, MADV_DONTFORK) == 0, "MADV_DONTFORK");
	r->withheld = true;
	protect(r, PROT_READ);
}

static void do_guard(struct arena *a)
{
	struct region *r = region_of(a, ANONYMOUS);
	uint32_t i = random_below(a, r->pages);

	/* Over a page that is there: the kernel tells no userfaultfd that a guard has replaced one
	 * that is still to come. */
	check_page(a, r, i, "before a guard");
	if (madvise(page_at(r, i), PAGE, MADV_GUARD_INSTALL) < 0)
		return;
	r->version[i] = 0;
	r->guard = i + 1;
}

static void do_lock(struct arena *a)
{
	struct region *r = region_of(a, LOCKED);

	if (random_below(a, 2))
		munlock(r->p, (size_t)r->pages * PAGE);
	else
		mlock(r->p, (size_t)r->pages * PAGE);
}

/* Deep in the stack, over some time. */
static void do_stack(struct arena *a)
{
	uint64_t pages[16 * WORDS] __attribute__((aligned(PAGE)));

	for (uint32_t i = 0; i < 16; i++)
		fill(pages + i * WORDS, (struct identity){a->owner, 100, i, a->operations + 1});
	nap(3000);
	for (uint32_t i = 0; i < 16; i++)
		if (!is_page(pages + i * WORDS, (struct identity){a->owner, 100, i, a->operations + 1}))
			wrong("page %u of the stack of %u", i, a->owner);
}

/* --- children ------------------------------------------------------------------------------ */

/* A child leaves alone what it shares with its parent, and doesn't have what was withheld. */
static void forget_others(struct arena *a)
{
	a->r[SHARED].pages = 0;
	for (unsigned i = 0; i < REGIONS; i++) {
		struct region *r = &a->r[i];

		if (!r->withheld)
			continue;
		if (is_readable(r, 0))
			wrong("a child of %u has region %u, which was withheld", a->owner, i);
		*r = (struct region){.kind = r->kind, .number = i, .protection = PROT_READ | PROT_WRITE};
	}
}

/* With the pid that the last one had, where that is allowed. */
static pid_t fork_arena(struct arena *a, pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};
	long r = pid ? syscall(SYS_clone3, &args, sizeof(args)) : -1;

	/* Not fork(3): it runs handlers, and waits for what other threads hold. */
	if (r < 0)
		r = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	must(r >= 0, "fork");
	if (r == 0)
		forget_others(a);
	return (pid_t)r;
}

static void reap(const struct arena *a, pid_t pid, const char *what)
{
	int status = 0;
	pid_t r;

	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r != pid || status != 0)
		wrong("%s of %u: child %d (waitpid says %d) ended with status %x", what, a->owner, pid,
			r, status);
}

/* Verifies what it has inherited, and writes to it, before and after a while. */
__attribute__((noreturn)) static void child_main(struct arena *a, const char *where, long us)
{
	check_arena(a, where);
	for (unsigned i = 0; i < 8; i++)
		do_write(a);
	nap(us);
	check_arena(a, where);
	_exit(0);
}

static void do_fork(struct arena *a)
{
	pid_t pid = fork_arena(a, (pid_t)(20000 + a->owner));

	if (pid == 0)
		child_main(a, "in a child", 500);
	reap(a, pid, "fork");
}

/* One that outlives several rounds. */
static void do_fork_lasting(struct arena *a)
{
	if (a->lasting)
		reap(a, a->lasting, "lasting child");
	a->lasting = fork_arena(a, 0);
	if (a->lasting == 0) {
		for (unsigned i = 0; i < 10; i++) {
			check_arena(a, "in a lasting child");
			write_page(a, region_of(a, ANONYMOUS), i);
			nap(20000);
		}
		child_main(a, "in a lasting child", 1000);
	}
}

static char state_of(pid_t pid)
{
	char path[64], text[256] = "";
	const char *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	p = strrchr(text, ')');
	return p ? p[2] : '?';
}

/* One that is stopped for several rounds: it must stay so, and find all as it left it. */
static void do_stop(struct arena *a)
{
	if (a->stopped) {
		/* Who thaws it lets it run as far as to its next stop. */
		for (unsigned i = 0; state_of(a->stopped) != 'T'; i++, nap(1000))
			if (i == 1000)
				wrong("stopped child %d of %u is in state %c", a->stopped, a->owner,
					state_of(a->stopped));
		kill(a->stopped, SIGCONT);
		reap(a, a->stopped, "stopped child");
	}
	a->stopped = fork_arena(a, 0);
	if (a->stopped == 0) {
		kill(getpid(), SIGSTOP);
		child_main(a, "in a child that was stopped", 0);
	}
	while (waitpid(a->stopped, NULL, WUNTRACED) < 0 && errno == EINTR)
		;
}

/* In the address space of its parent, until it is another program. */
static void do_vfork(struct arena *a)
{
	struct region *r = region_of(a, ANONYMOUS);
	uint32_t i = random_below(a, r->pages);
	char number[16], start[32];
	pid_t pid;

	snprintf(number, sizeof(number), "%u", a->owner + 1000);
	snprintf(start, sizeof(start), "%llu", (unsigned long long)seed);
	pid = vfork();
	if (pid == 0) {
		write_page(a, r, i);
		nap(3000);
		write_page(a, r, i);
		execl("/proc/self/exe", "checker", "once", number, start, (char *)NULL);
		_exit(9);
	}
	must(pid > 0, "vfork");
	check_page(a, r, i, "after vfork");
	reap(a, pid, "vfork and exec");
}

typedef void operation(struct arena *a);

static const struct {
	const char *name;
	operation *run;
	unsigned weight;
	bool wild; /* changes the list of regions, or doubles the memory by a child */
} operations[] = {
	{"write", do_write, 40, false},
	{"read", do_read_into, 8, false},
	{"MADV_DONTNEED", do_discard, 8, false},
	{"MADV_FREE", do_free, 4, false},
	{"mremap", do_move, 5, true},
	{"swap", do_swap, 3, true},
	{"resize", do_resize, 4, true},
	{"MREMAP_DONTUNMAP", do_leave_behind, 3, true},
	{"munmap and mmap", do_replace, 3, true},
	{"munmap in the middle", do_cut, 2, true},
	{"mprotect", do_protect, 6, true},
	{"MADV_DONTFORK", do_withhold, 3, true},
	{"guard page", do_guard, 4, false},
	{"mlock", do_lock, 2, true},
	{"stack", do_stack, 4, false},
	{"fork", do_fork, 4, true},
	{"lasting child", do_fork_lasting, 1, true},
	{"stopped child", do_stop, 1, true},
	{"vfork", do_vfork, 1, false},
};

#define N_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static unsigned weight_of(const struct arena *a, size_t operation)
{
	return a->calm && operations[operation].wild ? 0 : operations[operation].weight;
}

static void do_something(struct arena *a)
{
	unsigned total = 0, i = 0, at;

	for (size_t k = 0; k < N_OPERATIONS; k++)
		total += weight_of(a, k);
	at = random_below(a, total);
	while (at >= weight_of(a, i))
		at -= weight_of(a, i++);
	atomic_store(&board->doing[a->owner], operations[i].name);
	operations[i].run(a);
	a->operations++;
	atomic_fetch_add(&board->operations[a->owner], 1);
}

/* --- threads and processes ----------------------------------------------------------------- */

struct start {
	uint32_t owner, pages, large; /* of each region; or 0 */
};

static uint32_t pages_of(const struct start *s, enum kind kind)
{
	bool plain = kind == ANONYMOUS || kind == HUGE_PAGES || kind == LOCKED;
	uint32_t n = s->large > 0 && plain ? s->large : s->pages;

	return kind == HUGE_PAGES && n >= 64 ? (n + 511) / 512 * 512 : n;
}

static void arena_init(struct arena *a, const struct start *s)
{
	*a = (struct arena){.owner = s->owner, .random = mix(seed + s->owner)};
	for (uint32_t k = 0; k < REGIONS; k++) {
		struct region *r = &a->r[k];
		enum kind kind = k < KINDS ? (enum kind)k : ANONYMOUS;
		uint32_t n = pages_of(s, kind);

		*r = (struct region){.kind = kind, .number = k, .pages = n, .most = 2 * n,
			.protection = PROT_READ | PROT_WRITE};
		r->p = map_kind(kind, (size_t)n * PAGE);
		r->version = map((size_t)r->most * sizeof(r->version[0]), MAP_PRIVATE | MAP_ANONYMOUS, -1);
		/* Every fourth is never written to. */
		for (uint32_t i = 0; i < n; i++)
			if (i % 4)
				write_page(a, r, i);
	}
}

static void *arena_main(void *arg)
{
	const struct start *s = arg;
	struct arena a;

	arena_init(&a, s);
	for (unsigned pass = 0;; pass++) {
		a.calm = s->large > 0 && pass % CALM_PASSES != 0;
		for (unsigned i = 0; i < OPERATIONS_PER_PASS; i++) {
			do_something(&a);
			nap((s->large > 0 ? 20000 : 5000) * pace);
		}
		atomic_store(&board->doing[a.owner], "check");
		check_arena(&a, "in a thread");
		atomic_fetch_add(&board->passes[a.owner], 1);
	}
	return NULL;
}

/* Two threads take turns by a futex; each must find the other's count. */
struct turns {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned long count;
};

static struct turns turns = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void *turns_main(void *arg)
{
	unsigned long mine = (unsigned long)(uintptr_t)arg;

	for (unsigned long n = mine;; n += 2) {
		pthread_mutex_lock(&turns.lock);
		while (turns.count < n)
			pthread_cond_wait(&turns.changed, &turns.lock);
		if (turns.count != n)
			wrong("turn %lu is %lu", n, turns.count);
		turns.count++;
		pthread_cond_broadcast(&turns.changed);
		pthread_mutex_unlock(&turns.lock);
		nap(3000 * pace);
	}
	return NULL;
}

/* Signals queued with a number each: none is lost, none altered, and order is kept. */
static atomic_int signal_next;

static void on_signal(int number, siginfo_t *info, void *context)
{
	int want = atomic_fetch_add(&signal_next, 1);

	(void)number;
	(void)context;
	if (info->si_code != SI_QUEUE || info->si_value.sival_int != want)
		wrong("signal %d (code %d) came as number %d", info->si_value.sival_int, info->si_code,
			want);
}

/* The process's own thread takes them, and sees that how it takes signals isn't changed. */
static void *signals_main(void *arg)
{
	(void)arg;
	for (int n = 0;; n++) {
		for (unsigned i = 0; sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = n}) < 0; i++)
			if (i > 10000)
				wrong("signals are no longer taken");
			else
				nap(2000);
		nap(1000 * pace);
	}
	return NULL;
}

static void on_trap(int number)
{
	wrong("signal %d, which nobody sent", number);
}

static void check_signal_state(const sigset_t *want)
{
	struct sigaction trap;
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigaction(SIGTRAP, NULL, &trap);
	for (int i = 1; i < SIGRTMAX; i++)
		if (sigismember(&mask, i) != sigismember(want, i))
			wrong("signal %d is %s now", i, sigismember(&mask, i) ? "blocked" : "not blocked");
	if (trap.sa_handler != on_trap)
		wrong("the handler of SIGTRAP is gone");
}

static void take_lock(unsigned number)
{
	struct flock fl = {.l_type = F_WRLCK, .l_start = number, .l_len = 1};
	int fd = open("/run/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	must(fd >= 0 && fcntl(fd, F_SETLK, &fl) == 0, "file lock");
}

static void check_lock(unsigned number)
{
	struct flock fl = {.l_type = F_WRLCK, .l_start = number, .l_len = 1};
	pid_t parent = getpid(), pid = fork();
	int fd;

	must(pid >= 0, "fork");
	if (pid > 0) {
		reap(&(struct arena){.owner = number}, pid, "file lock");
		return;
	}
	fd = open("/run/lock", O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_GETLK, &fl) < 0 || fl.l_type != F_WRLCK || fl.l_pid != parent)
		wrong("the file lock of %u is gone", number);
	_exit(0);
}

static void begin_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;

	must(pthread_create(&t, NULL, run, arg) == 0, "thread");
}

__attribute__((noreturn)) static void process_main(unsigned number, uint32_t pages, uint32_t large)
{
	unsigned threads = large > 0 ? 1 : THREADS;
	struct start *starts = calloc(threads, sizeof(*starts));
	struct sigaction on = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigset_t all, mask;

	sigaction(SIGRTMIN, &on, NULL);
	signal(SIGTRAP, on_trap);
	/* No other thread takes signals; this one doesn't take SIGTRAP. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	take_lock(number);
	for (unsigned i = 0; i < threads; i++) {
		starts[i] = (struct start){number * THREADS + i, pages, large};
		begin_thread(arena_main, &starts[i]);
	}
	for (uintptr_t i = 0; i < 2; i++)
		begin_thread(turns_main, (void *)i);
	begin_thread(signals_main, NULL);
	sigdelset(&all, SIGRTMIN);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (;;) {
		nap(50000 * pace);
		check_signal_state(&mask);
		check_lock(number);
	}
}

/* --- other programs ------------------------------------------------------------------------ */

/* checker once NUMBER SEED: what a child becomes that called exec. */
static int once_main(uint32_t owner)
{
	struct arena a = {.owner = owner};
	struct region *r = &a.r[0];

	*r = (struct region){.pages = 64, .most = 64};
	r->p = map(64 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	r->version = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (uint32_t i = 0; i < r->pages; i++)
		write_page(&a, r, i);
	for (unsigned i = 0; i < 5; i++) {
		nap(2000);
		for (uint32_t k = 0; k < r->pages; k++)
			check_page(&a, r, k, "in another program");
	}
	return 0;
}

/* checker again NUMBER SEED: calls exec for ever, one address space after another. */
static int again_main(uint32_t owner)
{
	char number[16], start[32];

	once_main(owner);
	snprintf(number, sizeof(number), "%u", owner + 1);
	snprintf(start, sizeof(start), "%llu", (unsigned long long)seed);
	execl("/proc/self/exe", "checker", "again", number, start, (char *)NULL);
	return 9;
}

static int traced_main(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0 || ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
		return 2;
	put(STATUS_PATH, "ok\n");
	for (;;)
		pause();
}

/* --- the first process --------------------------------------------------------------------- */

static void make_file(uint32_t pages)
{
	int fd = open(FILE_PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t page[WORDS];

	must(fd >= 0, FILE_PATH);
	for (uint32_t i = 0; i < pages; i++) {
		fill(page, (struct identity){FILE_OWNER, 0, i, 1});
		must(write(fd, page, PAGE) == PAGE, FILE_PATH);
	}
	close(fd);
}

static unsigned least_passes(void)
{
	unsigned least = atomic_load(&board->passes[0]);

	for (unsigned i = 1; i < n_arenas; i++)
		if (atomic_load(&board->passes[i]) < least)
			least = atomic_load(&board->passes[i]);
	return least;
}

static unsigned long all_operations(void)
{
	unsigned long n = 0;

	for (unsigned i = 0; i < n_arenas; i++)
		n += atomic_load(&board->operations[i]);
	return n;
}

/* Somebody hangs: the one with the fewest passes. */
static void complain(void)
{
	unsigned who = 0;

	for (unsigned i = 1; i < n_arenas; i++)
		if (atomic_load(&board->passes[i]) < atomic_load(&board->passes[who]))
			who = i;
	wrong("thread %u has made no progress in %d seconds; it is at: %s", who, HANG_S,
		atomic_load(&board->doing[who]));
}

/* A child that found something wrong has said so; one that was killed has not. */
static void check_children(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	if (pid > 0 && access(WRONG_PATH, F_OK) == 0)
		stop_all();
	if (pid > 0)
		wrong("process %d ended with status %x", pid, status);
}

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

__attribute__((noreturn)) static void watch(void)
{
	time_t since = seconds();
	unsigned passes = 0;

	for (;;) {
		unsigned now = least_passes();
		char text[64];

		if (access(WRONG_PATH, F_OK) == 0)
			stop_all();
		check_children();
		if (now != passes)
			since = seconds();
		passes = now;
		if (seconds() - since > HANG_S)
			complain();
		snprintf(text, sizeof(text), "ok %u, %lu operations\n", now, all_operations());
		put(STATUS_PATH, text);
		nap(50000);
	}
}

static void begin_process(unsigned number, uint32_t pages, uint32_t large)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0)
		process_main(number, pages, large);
}

static void begin_processes(unsigned n, uint32_t pages, uint32_t large)
{
	for (unsigned i = 0; i < n; i++)
		begin_process(i, pages, 0);
	if (large > 0)
		begin_process(n, pages, large);
	if (fork() == 0)
		_exit(again_main(5000));
}

int main(int argc, char **argv)
{
	unsigned processes;
	uint32_t pages, large;

	if (argc > 3)
		seed = strtoull(argv[3], NULL, 10);
	board = map(sizeof(*board), MAP_SHARED | MAP_ANONYMOUS, -1);
	if (argc > 2 && strcmp(argv[1], "once") == 0)
		return once_main((uint32_t)strtoul(argv[2], NULL, 10));
	if (argc > 2 && strcmp(argv[1], "again") == 0)
		return again_main((uint32_t)strtoul(argv[2], NULL, 10));
	if (argc > 1 && strcmp(argv[1], "traced") == 0)
		return traced_main();
	first_process = getpid();
	processes = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
	pages = (argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 32) * 256;
	large = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) * 256 : 0;
	n_arenas = processes * THREADS + (large > 0);
	pace = (1 + processes / 5) * (argc > 5 ? strtol(argv[5], NULL, 10) : 1);
	if (processes == 0 || pace < 1 || n_arenas > ARENAS_MAX)
		return 2;
	pages = pages / (processes * THREADS) / REGIONS;
	pages = pages < 16 ? 16 : pages;
	make_file(2 * pages);
	begin_processes(processes, pages, large);
	watch();
}
