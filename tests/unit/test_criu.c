/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "criu/hook.h"
#include "criu/image_format.h"
#include "criu/images.h"
#include "criu/lazy.h"
#include "criu/mm_image.h"
#include "criu/tmpfs.h"
#include "criu/workplace.h"
#include "mm.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOON deadline_in_ms(5000)

/* Runs the action script as CRIU does: the step's name is in the environment. */
static void call(struct child *c, const struct hooks *h, const char *action)
{
	char env[64];
	const char *argv[] = {h->program, NULL}, *envs[] = {env, NULL};
	struct child_opts o = {.argv = argv, .setenv = envs};

	snprintf(env, sizeof(env), "CRTOOLS_SCRIPT_ACTION=%s", action);
	assert_int_equal(child_start(c, &o), 0);
}

static int exit_code(struct child *c)
{
	int code;

	assert_int_equal(child_wait(c, SOON), 0);
	code = child_exit_code(c);
	child_done(c);
	return code;
}

static void a_call_waits_for_its_answer(void **state)
{
	char *dir = scratch_make();
	struct hook_call call1;
	struct err e = ERR_INIT;
	struct hooks h;
	struct child c;

	(void)state;
	assert_int_equal(hooks_open(&h, dir, &e), 0);
	call(&c, &h, "post-dump");
	assert_int_equal(hooks_next(&h, &call1, SOON, &e), 0);
	assert_string_equal(call1.action, "post-dump");
	assert_int_equal(child_wait(&c, deadline_in_ms(50)), -ETIMEDOUT);
	hook_answer(&call1, true);
	assert_int_equal(exit_code(&c), 0);
	call(&c, &h, "post-restore");
	assert_int_equal(hooks_next(&h, &call1, SOON, &e), 0);
	hook_answer(&call1, false);
	assert_int_equal(exit_code(&c), 1);
	hooks_done(&h);
	scratch_remove(dir);
}

static void silence_means_no(void **state)
{
	char *dir = scratch_make();
	struct hook_call call1;
	struct err e = ERR_INIT;
	struct hooks h;
	struct child c;

	(void)state;
	assert_int_equal(hooks_open(&h, dir, &e), 0);
	call(&c, &h, "post-dump");
	assert_int_equal(hooks_next(&h, &call1, SOON, &e), 0);
	fd_close(&call1.fd); /* as when this process dies */
	assert_int_equal(exit_code(&c), 1);
	hooks_done(&h);
	call(&c, &h, "post-dump");
	assert_int_equal(exit_code(&c), 1);
	call(&c, &h, "setup-namespaces"); /* nobody wants to know */
	assert_int_equal(exit_code(&c), 0);
	scratch_remove(dir);
}

static void lazy_tasks_come_with_their_descriptor(void **state)
{
	char *dir = scratch_make();
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM, 0), pipes[2], zombie = -9;
	uint32_t end = 0x52535446;
	struct lazy_socket l;
	struct lazy_task t;
	struct err e = ERR_INIT;
	int32_t pid = 7;

	(void)state;
	assert_int_equal(lazy_socket_open(&l, dir, &e), 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/lazy-pages.socket", dir);
	assert_int_equal(connect(s, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(lazy_socket_next(&l, &t, SOON, &e), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(s, &pid, sizeof(pid)), sizeof(pid));
	assert_int_equal(fd_send(s, "x", 1, &pipes[0], 1), 0);
	assert_int_equal(lazy_socket_next(&l, &t, SOON, &e), 1);
	assert_int_equal(t.vpid, 7);
	assert_true(t.uffd >= 0);
	close(t.uffd);
	assert_int_equal(write(s, &zombie, sizeof(zombie)), sizeof(zombie));
	assert_int_equal(lazy_socket_next(&l, &t, SOON, &e), 0);
	assert_int_equal(write(s, &end, sizeof(end)), sizeof(end));
	assert_int_equal(lazy_socket_next(&l, &t, SOON, &e), 1);
	assert_int_equal(t.vpid, 0);
	lazy_socket_done(&l);
	close(s);
	close(pipes[0]);
	close(pipes[1]);
	scratch_remove(dir);
}

/* Of a dump of the game server by CRIU 4.2.1, with what it says is lazy. */
static char *read_real_image(size_t *len, struct ranges *lazy)
{
	char *data;

	assert_int_equal(
		file_read(TEST_ROOT "/fuzz/corpus/pagemap_image/xonotic", 1 << 20, &data, len), 0);
	assert_int_equal(pagemap_image_parse(data, *len, lazy), 0);
	return data;
}

static void lazy_pages_are_read_from_a_real_image(void **state)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
	size_t len;
	char *data = read_real_image(&len, &lazy);

	(void)state;
	for (size_t cut = 1; cut < len; cut += 7) {
		_cleanup_ranges_ struct ranges part = RANGES_INIT;

		pagemap_image_parse(data, len - cut, &part);
		assert_true(ranges_bytes(&part) <= ranges_bytes(&lazy));
	}
	data[0] ^= 1;
	assert_int_equal(pagemap_image_parse(data, len, &lazy), -EBADMSG);
	free(data);
}

static void pages_are_added_to_a_real_image(void **state)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT, more = RANGES_INIT, both = RANGES_INIT;
	_cleanup_buf_ struct buf b;
	size_t len;
	char *data = read_real_image(&len, &lazy);

	(void)state;
	assert_int_equal(ranges_add(&more, 0x1000, 0x3000), 0);
	/* Half of it is there already, as where CRIU has seen all. */
	assert_int_equal(ranges_add(&more, lazy.v[0].end - PAGE_BYTES, lazy.v[0].end + PAGE_BYTES), 0);
	assert_int_equal(ranges_add(&more, 0x7ffffff00000, 0x7ffffffff000), 0);
	buf_init(&b, 1 << 20);
	assert_int_equal(pagemap_image_add(data, len, &more, &b), 0);
	assert_int_equal(pagemap_image_parse(b.data, b.len, &both), 0);
	assert_int_equal(ranges_unite(&lazy, &more), 0);
	assert_int_equal(both.n, lazy.n);
	assert_memory_equal(both.v, lazy.v, lazy.n * sizeof(lazy.v[0]));
	/* What was there is there still, byte by byte. */
	buf_reset(&b);
	assert_int_equal(pagemap_image_add(data, len, &(struct ranges){0}, &b), 0);
	assert_int_equal(b.len, len);
	assert_memory_equal(b.data, data, len);
	assert_int_equal(pagemap_image_add(data, 6, &more, &b), -EBADMSG);
	free(data);
}

/* Of a dump of mem(1) by CRIU 4.2.1: 64 MB in one of its regions. */
static GwMmEntry *read_mm_image(const char *data, size_t len)
{
	GwMmEntry *m;

	assert_true(len > 12);
	m = gw_mm_entry__unpack(NULL, len - 12, (const uint8_t *)data + 12);
	assert_non_null(m);
	return m;
}

static struct range largest_region(const GwMmEntry *m)
{
	struct range r = {0};

	for (size_t i = 0; i < m->n_vmas; i++)
		if (m->vmas[i]->end - m->vmas[i]->start > r.end - r.start)
			r = (struct range){m->vmas[i]->start, m->vmas[i]->end};
	return r;
}

static void a_shortened_region_gets_its_length_back(void **state)
{
	_cleanup_buf_ struct buf whole, shown, again;
	struct range region, none = {0x1000, 0x3000};
	GwMmEntry *m;
	size_t len;
	char *data;

	(void)state;
	assert_int_equal(file_read(TEST_ROOT "/fuzz/corpus/mm_image/mem", 1 << 20, &data, &len), 0);
	m = read_mm_image(data, len);
	region = largest_region(m);
	assert_true(region.end - region.start >= 64 << 20);
	buf_init(&whole, 1 << 20);
	buf_init(&shown, 1 << 20);
	buf_init(&again, 1 << 20);
	/* What CRIU has not shortened stays. */
	assert_int_equal(mm_image_lengthen(data, len, &region, 1, &whole), 0);
	assert_int_equal(whole.len, len);
	for (size_t i = 0; i < m->n_vmas; i++)
		if (m->vmas[i]->start == region.start)
			m->vmas[i]->end = region.start + PAGE_BYTES;
	gw_mm_entry__pack(m, buf_grow(&again, gw_mm_entry__get_packed_size(m)));
	buf_put(&shown, data, 8);
	image_put(&shown, again.data, again.len);
	buf_reset(&again);
	assert_int_equal(mm_image_lengthen(shown.data, shown.len, &region, 1, &again), 0);
	assert_int_equal(again.len, whole.len);
	assert_memory_equal(again.data, whole.data, whole.len);
	assert_int_equal(mm_image_lengthen(data, len, &none, 1, &again), -EBADMSG);
	region.end += PAGE_BYTES;
	assert_int_equal(mm_image_lengthen(data, len, &region, 1, &again), -EBADMSG);
	assert_int_equal(mm_image_lengthen(data, len - 1, NULL, 0, &again), -EBADMSG);
	gw_mm_entry__free_unpacked(m, NULL);
	free(data);
}

static void a_log_tells_its_last_errors(void **state)
{
	static const char text[] = "(00.0) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: "
				   "Operation not permitted\n"
				   "(00.1) hello\n(00.2) Error (criu/x.c:1): first\n(00.3) fine\n"
				   "(00.4) Error (criu/y.c:2): second\n(00.5) Error (criu/z.c:3): Dumping FAILED.\n";
	char *dir = scratch_make(), path[512], said[256];

	(void)state;
	scratch_file(dir, "dump.log", text, strlen(text));
	snprintf(path, sizeof(path), "%s/dump.log", dir);
	criu_log_tail(path, said, sizeof(said));
	assert_string_equal(said, "first; second");
	snprintf(path, sizeof(path), "%s/none.log", dir);
	criu_log_tail(path, said, sizeof(said));
	assert_string_equal(said, "");
	scratch_remove(dir);
}

/* A tmpfs with what tar knows to keep. */
static void fill_tree(const char *dir)
{
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000, .tv_nsec = 500}};
	int d = open(dir, O_RDONLY | O_DIRECTORY), f;

	scratch_file(dir, "file", "contents", 8);
	assert_int_equal(fchmodat(d, "file", 04711, 0), 0);
	assert_int_equal(utimensat(d, "file", old, 0), 0);
	assert_int_equal(linkat(d, "file", d, "same", 0), 0);
	assert_int_equal(mkdirat(d, "sub", 0750), 0);
	assert_int_equal(symlinkat("../file", d, "sub/link"), 0);
	assert_int_equal(mkfifoat(d, "fifo", 0600), 0);
	f = openat(d, "sub/sparse", O_RDWR | O_CREAT, 0600);
	assert_int_equal(pwrite(f, "x", 1, 5000000), 1);
	close(f);
	close(d);
}

/* GNU tar's own format has no fractions of a second. */
static void check_tree(const char *dir, long nsec)
{
	char text[16] = "";
	struct stat st, same;
	int d = open(dir, O_RDONLY | O_DIRECTORY), f;

	assert_int_equal(fstatat(d, "file", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 04711);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, nsec);
	assert_int_equal(fstatat(d, "same", &same, 0), 0);
	assert_int_equal(st.st_ino, same.st_ino);
	assert_int_equal(fstatat(d, "sub", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(readlinkat(d, "sub/link", text, sizeof(text)), 7);
	assert_int_equal(fstatat(d, "fifo", &st, 0), 0);
	assert_true(S_ISFIFO(st.st_mode));
	f = openat(d, "sub/sparse", O_RDONLY);
	assert_int_equal(fstat(f, &st), 0);
	assert_int_equal(st.st_size, 5000001);
	assert_true(st.st_blocks < 1000);
	assert_int_equal(pread(f, text, 2, 4999999), 2);
	assert_memory_equal(text, "\0x", 2);
	close(f);
	close(d);
}

/* As CRIU starts it: a program of that name, a directory, the archive as input or output. */
static int run_tar(const char *command, const char *dir, const char *file)
{
	char text[512];

	snprintf(text, sizeof(text), "exec tar --%s --gzip --directory %s %s %s %s", command, dir,
		command[0] == 'c' ? "." : "", command[0] == 'c' ? ">" : "<", file);
	return system(text);
}

/* Who watches for a restore that stands still sees a large file come. */
static void what_is_unpacked_is_counted_meanwhile(void **state)
{
	char *from = scratch_make(), *to = scratch_make(), *files = scratch_make(), path[256];
	int f, d = open(from, O_RDONLY | O_DIRECTORY);
	uint64_t before = tmpfs_unpacked();
	static char large[1 << 20];

	(void)state;
	memset(large, 'x', sizeof(large));
	scratch_file(from, "large", large, sizeof(large));
	snprintf(path, sizeof(path), "%s/archive", files);
	f = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(tmpfs_pack(d, f), 0);
	close(d);
	assert_true(tmpfs_unpacked() == before);
	d = open(to, O_RDONLY | O_DIRECTORY);
	assert_int_equal(lseek(f, 0, SEEK_SET), 0);
	assert_int_equal(tmpfs_unpack(d, f), 0);
	assert_true(tmpfs_unpacked() >= before + sizeof(large) / 65536);
	close(d);
	close(f);
	assert_int_equal(chdir("/"), 0);
	scratch_remove(from);
	scratch_remove(to);
	scratch_remove(files);
}

static void a_tmpfs_is_packed_and_unpacked(void **state)
{
	char *from = scratch_make(), *to = scratch_make(), *files = scratch_make(), path[256];
	int f, d = open(from, O_RDONLY | O_DIRECTORY);

	(void)state;
	fill_tree(from);
	snprintf(path, sizeof(path), "%s/archive", files);
	f = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(tmpfs_pack(d, f), 0);
	close(d);
	assert_int_equal(chdir("/"), 0);
	/* The real tar understands it, and the other way round. */
	assert_int_equal(run_tar("extract", to, path), 0);
	check_tree(to, 500);
	dir_remove(to);
	assert_int_equal(run_tar("create", from, path), 0);
	assert_int_equal(mkdir(to, 0700), 0);
	d = open(to, O_RDONLY | O_DIRECTORY);
	assert_int_equal(lseek(f, 0, SEEK_SET), 0);
	assert_int_equal(tmpfs_unpack(d, f), 0);
	close(d);
	close(f);
	assert_int_equal(chdir("/"), 0);
	check_tree(to, 0);
	scratch_remove(from);
	scratch_remove(to);
	scratch_remove(files);
}

static void nothing_is_unpacked_elsewhere(void **state)
{
	static const char *const attacks[] = {
		"mkdir in out && cd in && echo x >../escaped && tar -Pczf ../a ../escaped && rm ../escaped",
		"mkdir in out && echo x >escaped && tar -Pczf a $PWD/escaped && rm escaped",
		"mkdir -p in out t/d && echo x >t/d/escaped && ln -s .. l && tar -czf b.gz l && "
		"tar -cf a.tar l && mv l l2 && mkdir l && echo x >l/escaped && tar -rf a.tar l/escaped && "
		"gzip <a.tar >a && rm -r l",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		char *dir = scratch_make(), text[512], path[256];
		int f, d;

		snprintf(text, sizeof(text), "cd %s && %s", dir, attacks[i]);
		assert_int_equal(system(text), 0);
		snprintf(path, sizeof(path), "%s/a", dir);
		f = open(path, O_RDONLY);
		snprintf(path, sizeof(path), "%s/out", dir);
		d = open(path, O_RDONLY | O_DIRECTORY);
		assert_int_equal(tmpfs_unpack(d, f), -EIO);
		assert_int_equal(chdir("/"), 0);
		snprintf(path, sizeof(path), "%s/escaped", dir);
		assert_int_equal(access(path, F_OK), -1);
		close(f);
		close(d);
		scratch_remove(dir);
	}
}

static void what_is_no_archive_is_refused(void **state)
{
	char *dir = scratch_make(), path[256];
	int f, d = open(dir, O_RDONLY | O_DIRECTORY);

	(void)state;
	scratch_file(dir, "garbage", "\x1f\x8b garbage", 10);
	snprintf(path, sizeof(path), "%s/garbage", dir);
	f = open(path, O_RDONLY);
	assert_int_equal(tmpfs_unpack(d, f), -EIO);
	close(f);
	close(d);
	scratch_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_waits_for_its_answer),
		cmocka_unit_test(silence_means_no),
		cmocka_unit_test(lazy_tasks_come_with_their_descriptor),
		cmocka_unit_test(lazy_pages_are_read_from_a_real_image),
		cmocka_unit_test(pages_are_added_to_a_real_image),
		cmocka_unit_test(a_shortened_region_gets_its_length_back),
		cmocka_unit_test(a_log_tells_its_last_errors),
		cmocka_unit_test(a_tmpfs_is_packed_and_unpacked),
		cmocka_unit_test(what_is_unpacked_is_counted_meanwhile),
		cmocka_unit_test(nothing_is_unpacked_elsewhere),
		cmocka_unit_test(what_is_no_archive_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
