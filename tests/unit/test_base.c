/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/rate.h"
#include "base/text.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void err_keeps_cause_and_wraps(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(err_sys(&e, ENOENT, "open %s", "x"), -ENOENT);
	assert_int_equal(err_wrap(&e, "reading\nconfiguration"), -ENOENT);
	assert_string_equal(e.text, "reading configuration: open x: No such file or directory");
	err_remedy(&e, "make it");
	assert_string_equal(e.remedy, "make it");
	assert_int_equal(err_exit_code(&e), 1);
	assert_int_equal(err_set(&e, ERR_REFUSED, 0, "no"), -EIO);
	assert_int_equal(err_exit_code(&e), 3);
	assert_string_equal(e.remedy, "");
}

static void expect_clean(const char *from, const char *to)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", from);
	text_clean(text);
	assert_string_equal(text, to);
	assert_true(text_is_clean(text, strlen(text)));
	assert_int_equal(text_is_clean(from, strlen(from)), strcmp(from, to) == 0);
}

static void texts_are_made_printable(void **state)
{
	(void)state;
	expect_clean("", "");
	expect_clean("Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x90\xa6", "Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x90\xa6");
	expect_clean("two\nlines\t\r", "two lines  ");
	expect_clean("\033[31mred\007\177", "?[31mred??");
	expect_clean("Z\xfcrich", "Z?rich");
	expect_clean("\xc2\x9b" "2J\xc2\xa0", "??2J\xc2\xa0");
	/* Cut, longer than need be, half of a pair, too high. */
	expect_clean("\xe2\x82", "??");
	expect_clean("\xf0\x9f\x90: x", "???: x");
	expect_clean("\xc0\xaf \xed\xa0\x80 \xf5\x80\x80\x80", "?? ??? ????");
}

static void errors_are_cut_between_characters(void **state)
{
	char longer[ERR_TEXT_MAX + 8];
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(longer); i += 2)
		memcpy(longer + i, "\xc3\xbc", 2);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&e, ERR_LOCAL, EIO, "%s", longer);
	assert_true(text_is_clean(e.text, strlen(e.text)));
	err_wrap(&e, "%s", longer);
	assert_true(text_is_clean(e.text, strlen(e.text)));
	err_remedy(&e, "\033%s", longer);
	assert_true(text_is_clean(e.remedy, strlen(e.remedy)));
}

static void buf_and_cursor_round_trip(void **state)
{
	_cleanup_buf_ struct buf b;
	struct cursor c;

	(void)state;
	buf_init(&b, 64);
	buf_put_u8(&b, 1);
	buf_put_u16(&b, 0x0203);
	buf_put_u32(&b, 0x04050607);
	buf_put_u64(&b, 0x08090a0b0c0d0e0full);
	assert_int_equal(buf_check(&b), 0);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(b.data[i], i + 1);
	c = cursor_of(b.data, b.len);
	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_u16(&c), 0x0203);
	assert_int_equal(cursor_u32(&c), 0x04050607);
	assert_int_equal(cursor_end(&c), -EBADMSG);
	assert_true(cursor_u64(&c) == 0x08090a0b0c0d0e0full);
	assert_int_equal(cursor_end(&c), 0);
}

static void buf_refuses_more_than_its_maximum(void **state)
{
	_cleanup_buf_ struct buf b;

	(void)state;
	buf_init(&b, 4);
	buf_put_u32(&b, 1);
	assert_int_equal(buf_check(&b), 0);
	buf_put_u8(&b, 1);
	assert_int_equal(buf_check(&b), -EMSGSIZE);
	buf_reset(&b);
	assert_null(buf_grow(&b, SIZE_MAX));
	assert_int_equal(buf_check(&b), -EMSGSIZE);
}

static void cursor_errors_stick(void **state)
{
	struct cursor c = cursor_of("abc", 3);

	(void)state;
	assert_int_equal(cursor_u32(&c), 0);
	assert_int_equal(cursor_u8(&c), 0);
	assert_int_equal(cursor_end(&c), -EBADMSG);
}

static void fds_travel_and_surplus_is_closed(void **state)
{
	int sv[2], p[2], got[1];
	size_t n = 1;
	char c = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fd_send(sv[0], "x", 1, p, 2), 0);
	close(p[0]);
	close(p[1]);
	assert_int_equal(fd_recv(sv[1], &c, 1, got, &n), 1);
	assert_int_equal(n, 1);
	/* The write end was surplus: the pipe must be at its end. */
	assert_int_equal(read(got[0], &c, 1), 0);
	close(got[0]);
	close(sv[0]);
	close(sv[1]);
}

static void reads_end_at_the_deadline(void **state)
{
	int p[2];
	char c[2];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fd_read_all(p[0], c, 1, deadline_in_ms(5)), -ETIMEDOUT);
	assert_int_equal(fd_write_all(p[1], "a", 1, deadline_in_ms(1000)), 0);
	fd_close(&p[1]);
	assert_int_equal(fd_read_all(p[0], c, 2, deadline_in_ms(1000)), -EPIPE);
	fd_close(&p[0]);
}

static void children_are_run_and_bounded(void **state)
{
	_cleanup_free_ char *out = NULL;
	const char *echo[] = {"sh", "-c", "echo one; echo two >&2; exit 7", NULL};
	const char *hang[] = {"sleep", "60", NULL};
	const char *none[] = {"/nonexistent/program", NULL};

	(void)state;
	assert_int_equal(child_run(echo, 100, &out, deadline_in_ms(10000)), 7);
	assert_string_equal(out, "one\ntwo\n");
	assert_int_equal(child_run(hang, 0, NULL, deadline_in_ms(20)), -ETIMEDOUT);
	assert_int_equal(child_run(none, 0, NULL, deadline_in_ms(10000)), -ENOENT);
}

/* Its own child has the pipe open for a second. */
static void what_a_child_has_said_is_not_waited_for(void **state)
{
	const char *const argv[] = {"sh", "-c", "sleep 1 & echo hello", NULL};
	struct child_opts o = {.argv = argv, .capture = true};
	_cleanup_child_ struct child c = CHILD_INIT;
	char said[100];

	(void)state;
	assert_int_equal(child_start(&c, &o), 0);
	assert_int_equal(child_wait(&c, deadline_in_ms(10000)), 0);
	child_said(&c, said, sizeof(said));
	assert_string_equal(said, "hello\n");
	child_said(&c, said, sizeof(said));
	assert_string_equal(said, "");
	assert_int_equal(fd_wait(c.output, POLLIN, 0), -ETIMEDOUT);
}

static void children_get_named_descriptors_only(void **state)
{
	_cleanup_child_ struct child c = CHILD_INIT;
	const char *argv[] = {"sh", "-c", "echo hi >&3; [ ! -e /proc/self/fd/4 ]", NULL};
	int p[2], extra = open("/dev/null", O_RDONLY);
	char line[3] = "";

	(void)state;
	assert_int_equal(pipe(p), 0);
	struct child_opts o = {.argv = argv, .keep_fds = &p[1], .n_keep_fds = 1};
	assert_int_equal(child_start(&c, &o), 0);
	close(p[1]);
	assert_int_equal(fd_read_all(p[0], line, 2, deadline_in_ms(10000)), 0);
	assert_string_equal(line, "hi");
	assert_int_equal(child_wait(&c, deadline_in_ms(10000)), 0);
	assert_int_equal(child_exit_code(&c), 0);
	close(p[0]);
	close(extra);
}

static void programs_do_not_see_that_more_files_are_allowed(void **state)
{
	_cleanup_free_ char *out = NULL;
	const char *argv[] = {"sh", "-c", "ulimit -Sn; [ $(ulimit -Hn) != 100 ]", NULL};
	struct rlimit was, now;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	assert_true(was.rlim_max > 100);
	now = (struct rlimit){100, was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	child_raise_files();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_true(now.rlim_cur == was.rlim_max);
	assert_int_equal(child_run(argv, 100, &out, deadline_in_ms(10000)), 0);
	assert_string_equal(out, "100\n");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

/* Whose session it is in. */
static pid_t session_of(bool on_terminal)
{
	_cleanup_child_ struct child c = CHILD_INIT;
	const char *argv[] = {"sleep", "60", NULL};
	struct child_opts o = {.argv = argv, .on_terminal = on_terminal};
	pid_t sid;

	assert_int_equal(child_start(&c, &o), 0);
	sid = getsid(c.pid);
	assert_int_equal(getpgid(c.pid) == c.pid, !on_terminal);
	return sid == c.pid ? 0 : sid;
}

static void a_ctrl_c_reaches_children_on_the_terminal_only(void **state)
{
	(void)state;
	assert_int_equal(session_of(false), 0);
	assert_int_equal(session_of(true), getsid(0));
}

static void files_are_replaced_and_trees_removed(void **state)
{
	char dir[] = "/tmp/godwit-test-XXXXXX", path[64], deep[64];
	_cleanup_free_ char *text = NULL;
	size_t len;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(deep, sizeof(deep), "%s/a/b/c", dir);
	assert_int_equal(dir_make(deep, 0700), 0);
	assert_int_equal(dir_make(deep, 0700), 0);
	snprintf(path, sizeof(path), "%s/a/file", dir);
	assert_int_equal(file_write_atomic(path, "old", 3, 0600), 0);
	assert_int_equal(file_write_atomic(path, "newer", 5, 0600), 0);
	assert_int_equal(file_read(path, 4, &text, &len), -EFBIG);
	assert_int_equal(file_read(path, 5, &text, &len), 0);
	assert_string_equal(text, "newer");
	assert_int_equal(len, 5);
	assert_int_equal(dir_remove(dir), 0);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(dir_remove(dir), 0);
}

static void a_rate_spreads_what_is_counted(void **state)
{
	struct rate r = {.bytes_per_second = 1000000}, none = {0};
	const uint64_t start = 5 * NSEC_PER_SEC;

	(void)state;
	assert_int_equal(rate_count(&none, 1u << 30, start), start);
	assert_int_equal(rate_count(&r, 500000, start), start + NSEC_PER_SEC / 2);
	/* Sent at once by another stream: it waits for both. */
	assert_int_equal(rate_count(&r, 500000, start), start + NSEC_PER_SEC);
	/* After a pause nothing has been saved up. */
	assert_int_equal(rate_count(&r, 1000, 2 * start), 2 * start + NSEC_PER_MSEC);
}

static void no_bytes_are_no_failure(void **state)
{
	_cleanup_buf_ struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_non_null(buf_grow(&b, 0));
	assert_int_equal(buf_check(&b), 0);
}

/* In a process of its own: without rights nobody gets below the nice value that it sets. */
static void who_came_first_gets_back_what_it_had(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		setpriority(PRIO_PROCESS, 0, 5);
		thread_come_first(0, true);
		thread_come_first(0, false);
		_exit(getpriority(PRIO_PROCESS, 0));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_bytes_are_no_failure),
		cmocka_unit_test(err_keeps_cause_and_wraps),
		cmocka_unit_test(texts_are_made_printable),
		cmocka_unit_test(errors_are_cut_between_characters),
		cmocka_unit_test(buf_and_cursor_round_trip),
		cmocka_unit_test(buf_refuses_more_than_its_maximum),
		cmocka_unit_test(cursor_errors_stick),
		cmocka_unit_test(fds_travel_and_surplus_is_closed),
		cmocka_unit_test(reads_end_at_the_deadline),
		cmocka_unit_test(children_are_run_and_bounded),
		cmocka_unit_test(what_a_child_has_said_is_not_waited_for),
		cmocka_unit_test(children_get_named_descriptors_only),
		cmocka_unit_test(programs_do_not_see_that_more_files_are_allowed),
		cmocka_unit_test(a_ctrl_c_reaches_children_on_the_terminal_only),
		cmocka_unit_test(files_are_replaced_and_trees_removed),
		cmocka_unit_test(a_rate_spreads_what_is_counted),
		cmocka_unit_test(who_came_first_gets_back_what_it_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
