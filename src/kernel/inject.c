/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/inject.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1 /* linux/userfaultfd.h, since 5.11 */
#endif

#define GET_RSEQ_CONFIGURATION 0x420f /* of ptrace(2), since Linux 5.13 */

#define INJECT_MS 2000

#ifdef __x86_64__

#define SYSCALL_LEN 2
static const uint8_t syscall_code[SYSCALL_LEN] = {0x0f, 0x05};
#define VDSO_MAX 16384
#define ATTACH_MS 200 /* for all its threads to stop and one to begin: so long it may stand still */
#define THREADS_MAX 4096

/* Where in @pid a system call instruction is: its vdso has some. */
static int find_syscall(pid_t pid, uint64_t *ret)
{
	uint8_t code[VDSO_MAX];
	unsigned long long start = 0, end = 0;
	struct iovec local, remote;
	char path[64], line[512];
	ssize_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "[vdso]") && sscanf(line, "%llx-%llx", &start, &end) == 2)
			break;
	fclose(f);
	if (start == 0 || end <= start || end - start > sizeof(code))
		return -ENOEXEC;
	local = (struct iovec){code, end - start};
	remote = (struct iovec){(void *)(uintptr_t)start, end - start};
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	for (ssize_t i = 0; i + SYSCALL_LEN <= n; i++)
		if (memcmp(code + i, syscall_code, SYSCALL_LEN) == 0) {
			*ret = start + (uint64_t)i;
			return 0;
		}
	return n < 0 ? -errno : -ENOEXEC;
}

/* Waits for a stop of thread @tid. */
static int wait_stop(pid_t tid, uint64_t deadline, int *ret_status)
{
	struct timespec tick = {.tv_nsec = 200000};
	pid_t r;

	while ((r = waitpid(tid, ret_status, __WALL | (deadline == DEADLINE_NEVER ? 0 : WNOHANG))) == 0) {
		if (deadline_passed(deadline))
			return -EBUSY;
		nanosleep(&tick, NULL);
	}
	if (r < 0)
		return -errno;
	return WIFSTOPPED(*ret_status) ? 0 : -ESRCH;
}

/* Waits until @tid stands where PTRACE_INTERRUPT puts it: between two instructions, with no signal
 * half delivered. In vfork(2), for one, it can't stop now. */
static int wait_interrupted(pid_t tid, uint64_t deadline)
{
	int status, r;

	while ((r = wait_stop(tid, deadline, &status)) == 0) {
		if (status >> 16 == PTRACE_EVENT_STOP)
			return 0;
		/* A signal came first, which it takes as if we weren't there; it has used up our
		 * interrupt. */
		if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 ||
			ptrace(PTRACE_CONT, tid, NULL, (void *)(uintptr_t)WSTOPSIG(status)) < 0)
			return -errno;
	}
	return r;
}

/* The container's seccomp filter may not know the calls. */
static int interrupt(pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_SUSPEND_SECCOMP | PTRACE_O_TRACESYSGOOD) < 0 ||
		ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
		return -errno;
	return 0;
}

struct threads {
	pid_t v[THREADS_MAX];
	size_t n;
};

static bool has_thread(const struct threads *t, pid_t tid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i] == tid)
			return true;
	return false;
}

/* Interrupts the threads of @pid that aren't in @t yet, and adds them. How many, or -errno. */
static int interrupt_new(pid_t pid, struct threads *t)
{
	char path[64];
	struct dirent *entry;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (n >= 0 && (entry = readdir(d))) {
		pid_t tid = atoi(entry->d_name);

		if (tid <= 0 || has_thread(t, tid))
			continue;
		if (t->n == THREADS_MAX) {
			n = -E2BIG;
		} else if (interrupt(tid) == 0) {
			t->v[t->n++] = tid;
			n++;
		} else if (tid == pid) {
			n = -EPERM;
		}
	}
	closedir(d);
	return n;
}

/* Stops all threads of @pid: one that ran could fork, and its child would inherit the descriptor
 * that we make, or close it under its number. */
static int stop_threads(pid_t pid, struct threads *t, uint64_t deadline)
{
	size_t waited = 0;
	int n;

	while ((n = interrupt_new(pid, t)) > 0)
		for (; waited < t->n; waited++) {
			int r = wait_interrupted(t->v[waited], deadline);

			/* A thread that has ended is none. */
			if (r < 0 && (r != -ESRCH || t->v[waited] == pid))
				return r;
		}
	return n;
}

struct tracee {
	pid_t pid;
	struct user_regs_struct saved;
	uint64_t mask; /* its blocked signals */
	uint64_t code;
	bool stop; /* a SIGSTOP arrived meanwhile, which can't be blocked */
};

static bool at_syscall(int status)
{
	return WSTOPSIG(status) == (SIGTRAP | 0x80);
}

static bool at_interrupt(int status)
{
	return status >> 16 == PTRACE_EVENT_STOP;
}

/* Lets it go on until it stops in the way that is @wanted. -EFAULT: it has done something else;
 * -EBUSY: it has not stopped, and still runs. */
static int run_until(struct tracee *t, int how, bool (*wanted)(int status), uint64_t deadline)
{
	int status, r;

	do {
		if (ptrace(how, t->pid, NULL, NULL) < 0)
			return -errno;
		r = wait_stop(t->pid, deadline, &status);
		if (r < 0)
			return r;
		if (wanted(status))
			return 0;
		t->stop |= WSTOPSIG(status) == SIGSTOP && status >> 16 == 0;
	} while (WSTOPSIG(status) == SIGSTOP || at_interrupt(status));
	return -EFAULT;
}

/* Stops one that doesn't get as far as to its system call, since its cgroup is frozen: -EBUSY; or 0,
 * it has come there after all. */
static int call_off(struct tracee *t)
{
	int status, r;

	do {
		ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL);
		r = wait_stop(t->pid, DEADLINE_NEVER, &status);
		if (r < 0 || at_syscall(status))
			return r;
		if (at_interrupt(status))
			return -EBUSY;
		t->stop |= WSTOPSIG(status) == SIGSTOP;
	} while (ptrace(PTRACE_SYSCALL, t->pid, NULL, NULL) == 0);
	return -errno;
}

/* Makes the stopped thread do one system call; its result or -errno. -EBUSY: it has not begun by the
 * deadline, and won't. */
static long call(struct tracee *t, long number, uint64_t arg, uint64_t deadline)
{
	struct user_regs_struct regs = t->saved;
	int r;

	regs.rip = t->code;
	regs.rax = (uint64_t)number;
	regs.rdi = arg;
	/* Not in a system call: nothing is to be restarted before ours. */
	regs.orig_rax = (uint64_t)-1;
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &regs) < 0)
		return -errno;
	r = run_until(t, PTRACE_SYSCALL, at_syscall, deadline);
	if (r == -EBUSY)
		r = call_off(t);
	/* From here no freezer holds it. */
	if (r == 0)
		r = run_until(t, PTRACE_SYSCALL, at_syscall, DEADLINE_NEVER);
	if (r == 0 && ptrace(PTRACE_GETREGS, t->pid, NULL, &regs) < 0)
		r = -errno;
	return r < 0 ? r : (long)regs.rax;
}

int inject_fetch(pid_t pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), r;

	if (pidfd < 0)
		return -errno;
	r = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	r = r < 0 ? -errno : r;
	close(pidfd);
	return r;
}

static bool read_memory(pid_t pid, uint64_t at, void *ret, size_t n)
{
	struct iovec local = {ret, n}, remote = {(void *)(uintptr_t)at, n};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

/*
 * A thread that is interrupted in a restartable sequence (rseq(2)) has to go on at its abort handler: it has
 * lost its processor. The kernel, which would see to that, looks where it is when it returns to user mode, and
 * that will be at our system call. Before Linux 5.13 nobody can ask where a thread's sequences are noted.
 */
static void abort_sequence(struct tracee *t)
{
	struct {
		uint64_t area;
		uint32_t size, signature, flags, pad;
	} conf;
	struct rseq_cs s;
	uint64_t at;

	if (ptrace(GET_RSEQ_CONFIGURATION, t->pid, (void *)sizeof(conf), &conf) != (long)sizeof(conf) || !conf.area)
		return;
	if (!read_memory(t->pid, conf.area + offsetof(struct rseq, rseq_cs), &at, sizeof(at)) || !at ||
		!read_memory(t->pid, at, &s, sizeof(s)))
		return;
	if (t->saved.rip - s.start_ip < s.post_commit_offset)
		t->saved.rip = s.abort_ip;
}

/* Once the descriptor is made there is no way back but through closing it, however long that takes. */
static int make_descriptor(struct tracee *t, uint64_t deadline)
{
	long there = call(t, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, deadline);
	int fd;

	if (there < 0)
		return (int)there;
	fd = inject_fetch(t->pid, (int)there);
	call(t, SYS_close, (uint64_t)there, DEADLINE_NEVER);
	return fd;
}

/* From the place at which it was interrupted, where a system call that it was in is taken up again. */
static int put_back(struct tracee *t)
{
	ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL);
	run_until(t, PTRACE_CONT, at_interrupt, DEADLINE_NEVER);
	if (t->stop)
		kill(t->pid, SIGSTOP);
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &t->saved) < 0 ||
		ptrace(PTRACE_SETSIGMASK, t->pid, sizeof(t->mask), &t->mask) < 0)
		return -errno;
	return 0;
}

static int borrow(struct tracee *t, uint64_t deadline)
{
	uint64_t all = UINT64_MAX;
	int fd, r;

	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &t->saved) < 0 ||
		ptrace(PTRACE_GETSIGMASK, t->pid, sizeof(t->mask), &t->mask) < 0)
		return -errno;
	/* 32-bit code would take the call's number for another one. */
	if (t->saved.cs != 0x33)
		return -ENOSYS;
	abort_sequence(t);
	/* Signals wait, as they are, until we are gone. */
	if (ptrace(PTRACE_SETSIGMASK, t->pid, sizeof(all), &all) < 0)
		return -errno;
	fd = make_descriptor(t, deadline);
	r = put_back(t);
	return r < 0 ? r : fd;
}

/* Our end lets all threads go. */
static int inject(pid_t pid)
{
	struct tracee t = {.pid = pid};
	static struct threads threads;
	uint64_t deadline = deadline_in_ms(ATTACH_MS);
	int r = stop_threads(pid, &threads, deadline);

	/* Not before: exec(2) moves it. */
	if (r == 0)
		r = find_syscall(pid, &t.code);
	return r < 0 ? r : borrow(&t, deadline);
}

#else

static int inject(pid_t pid)
{
	(void)pid;
	return -ENOSYS;
}

#endif

/* One int and, with it, the descriptor if there is one. */
static void send_result(int sock, int result)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec data = {&result, sizeof(result)};
	struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1};

	if (result >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control.room);
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &result, sizeof(result));
	}
	if (sendmsg(sock, &m, MSG_NOSIGNAL) < 0)
		_exit(1);
}

static int receive_result(int sock)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	int result = -EIO, fd;
	struct iovec data = {&result, sizeof(result)};
	struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);

	if (n != sizeof(result) || result < 0)
		return n == sizeof(result) ? result : -EIO;
	if (m.msg_controllen < CMSG_LEN(sizeof(int)))
		return -EIO;
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

__attribute__((noreturn)) static void child_main(pid_t pid, int sock)
{
	sigset_t all;

	/* A group's SIGINT from the terminal is for the one who waits for us. */
	setsid();
	prctl(PR_SET_NAME, "godwit-attach");
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	send_result(sock, inject(pid));
	_exit(0);
}

int inject_probe(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	return fd < 0 ? -errno : fd;
}

int inject_userfaultfd(pid_t pid)
{
	int sv[2], r;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	child = fork();
	if (child == 0)
		child_main(pid, sv[1]);
	close(sv[1]);
	r = child < 0 ? -errno : fd_wait(sv[0], POLLIN, deadline_in_ms(INJECT_MS));
	if (r == 0) {
		r = receive_result(sv[0]);
		waitpid(child, NULL, 0);
	}
	/* One that was frozen with the descriptor made and not closed ends when it is thawed. */
	close(sv[0]);
	return r == -ETIMEDOUT ? -EBUSY : r;
}
