/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "kernel/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a confined process can't do: each fails with EPERM and with nothing else. */

static long try_open(void) { return open("/dev/null", O_RDONLY); }
static long try_exec(void) { return execl("/bin/true", "true", NULL); }
static long try_socket(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static long try_connect(void) { return connect(0, NULL, 0); }
static long try_ptrace(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static long try_fork(void) { return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); }
static long try_kill(void) { return kill(getppid(), 0); }
static long try_prctl(void) { return prctl(PR_SET_PDEATHSIG, 0); }
static long try_setuid(void) { return syscall(SYS_setuid, 0); }
static long try_mount(void) { return syscall(SYS_mount, "none", "/", NULL, 0ul, NULL); }
static long try_read_of_another(void) { return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0); }
static long try_pidfd(void) { return syscall(SYS_pidfd_open, getppid(), 0); }
static long try_ioctl(void) { return syscall(SYS_ioctl, 0, 0, 0); }
static long try_setsockopt(void) { return setsockopt(0, SOL_SOCKET, SO_KEEPALIVE, NULL, 0); }
static long try_code(void) { return (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static long try_io_uring(void) { return syscall(425, 1, NULL); }
static long try_bpf(void) { return syscall(SYS_bpf, 0, NULL, 0); }

static long (*const forbidden[])(void) = {
	try_open, try_exec, try_socket, try_connect, try_ptrace, try_fork, try_kill, try_prctl, try_setuid,
	try_mount, try_read_of_another, try_pidfd, try_ioctl, try_setsockopt, try_code, try_io_uring, try_bpf,
};

/* What it needs to. */
static int do_what_is_left(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	char *mem = malloc(8 << 20);

	if (!mem)
		return 1;
	memset(mem, 1, 8 << 20);
	mem = realloc(mem, 16 << 20);
	if (!mem || poll(&p, 1, 1000) != 1)
		return 2;
	free(mem);
	return write(fd, "x", 1) == 1 ? 0 : 3;
}

__attribute__((noreturn)) static void confined(int fd)
{
	int r;

	if (confine_calls() < 0)
		_exit(100);
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		errno = 0;
		if (forbidden[i]() != -1 || errno != EPERM)
			_exit((int)i + 1);
	}
	r = do_what_is_left(fd);
	_exit(r ? 110 + r : 0);
}

static void only_some_system_calls_are_left(void **state)
{
	int ends[2], status;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid = fork();
	if (pid == 0)
		confined(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(recv(ends[0], &c, 1, MSG_DONTWAIT), 1);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_some_system_calls_are_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
