/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "criu/hook.h"
#include "criu/images.h"
#include "criu/lazy.h"
#include "criu/workplace.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
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

/* Of a dump of the game server by CRIU 4.2.1. */
static void lazy_pages_are_read_from_a_real_image(void **state)
{
	_cleanup_ranges_ struct ranges lazy = RANGES_INIT;
	char *data = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(
		file_read(TEST_ROOT "/fuzz/corpus/pagemap_image/xonotic", 1 << 20, &data, &len), 0);
	assert_int_equal(pagemap_image_parse(data, len, &lazy), 0);
	for (size_t cut = 1; cut < len; cut += 7) {
		_cleanup_ranges_ struct ranges part = RANGES_INIT;

		pagemap_image_parse(data, len - cut, &part);
		assert_true(ranges_bytes(&part) <= ranges_bytes(&lazy));
	}
	data[0] ^= 1;
	assert_int_equal(pagemap_image_parse(data, len, &lazy), -EBADMSG);
	free(data);
}

static void a_log_tells_its_last_errors(void **state)
{
	static const char text[] = "(00.1) hello\n(00.2) Error (criu/x.c:1): first\n(00.3) fine\n"
				   "(00.4) Error (criu/y.c:2): second\n";
	char *dir = scratch_make(), path[512], said[256];

	(void)state;
	scratch_file(dir, "dump.log", text, strlen(text));
	snprintf(path, sizeof(path), "%s/dump.log", dir);
	criu_log_tail(path, said, sizeof(said));
	assert_non_null(strstr(said, "first"));
	assert_non_null(strstr(said, "second"));
	assert_null(strstr(said, "hello"));
	snprintf(path, sizeof(path), "%s/none.log", dir);
	criu_log_tail(path, said, sizeof(said));
	assert_string_equal(said, "");
	scratch_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_waits_for_its_answer),
		cmocka_unit_test(silence_means_no),
		cmocka_unit_test(lazy_tasks_come_with_their_descriptor),
		cmocka_unit_test(lazy_pages_are_read_from_a_real_image),
		cmocka_unit_test(a_log_tells_its_last_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
