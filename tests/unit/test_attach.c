/* SPDX-License-Identifier: Apache-2.0 */
/* What attaching to a process leaves alone: its signals, its siblings, its children, its regions. */
#include "tracking.h"

#include "base/file.h"
#include "kernel/status.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#if defined(__x86_64__) && __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define HAS_RSEQ (__rseq_size > 0)
#else
#define HAS_RSEQ false
#endif

#define PAGES 64
#define REGION PAGES_TO_BYTES(PAGES)
#define BACKEND "write-protect"
#define ATTACHMENTS 60 /* where something must not happen that happens now and then */

enum order {
	WRITE_PAGE,
	VFORK,
	LEAVE,
	RESIZE,
	FORK_ON,
	FORKS_BAD,
	SIGNALS_SEEN,
	SIGNALS_KEPT,
	EXEC_ON,
	SPIN,
};

struct child {
	pid_t pid;
	int orders[2], answers[2];
	uint64_t base; /* of its region */
};

struct command {
	enum order order;
	uint32_t page;
};

static struct child *me;
static uint8_t *region;
static atomic_uint signals_seen, forks_bad;
static atomic_uint *spin_no_more; /* shared */

static uint64_t serve(uint64_t answer);

static uint8_t *map_filled(void)
{
	uint8_t *p = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	madvise(p, REGION, MADV_NOHUGEPAGE);
	memset(p, 1, REGION);
	return p;
}

/* Signals come with their numbers, in order. */
static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if (info->si_code == SI_QUEUE && info->si_value.sival_int == (int)signals_seen)
		signals_seen++;
}

static void take_signals(void)
{
	struct sigaction on = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigset_t trap;

	sigaction(SIGRTMIN, &on, NULL);
	signal(SIGTRAP, SIG_IGN);
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	sigprocmask(SIG_BLOCK, &trap, NULL);
}

static bool signals_are_as_they_were(void)
{
	struct sigaction trap;
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigaction(SIGTRAP, NULL, &trap);
	return sigismember(&mask, SIGTRAP) && !sigismember(&mask, SIGUSR1) &&
		trap.sa_handler == SIG_IGN;
}

static bool has_userfaultfd(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *entry;
	char target[64];
	bool has = false;

	while (d && (entry = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), entry->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		has |= strstr(target, "userfaultfd") != NULL;
	}
	if (d)
		closedir(d);
	return has;
}

static void *fork_on(void *arg)
{
	int status;

	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(has_userfaultfd());
		if (waitpid(pid, &status, 0) == pid && status != 0)
			forks_bad++;
	}
	return arg;
}

/* How often a region that grows and shrinks could not. */
static uint64_t resize(uint8_t *p)
{
	uint64_t failed = 0;

	for (unsigned i = 0; i < 100000; i++) {
		size_t now = i % 2 ? 2 * REGION : REGION, then = i % 2 ? REGION : 2 * REGION;
		void *q = mremap(p, now, then, MREMAP_MAYMOVE);

		if (q == MAP_FAILED)
			failed++;
		else
			p = q;
	}
	return failed;
}

#ifdef RSEQ_SIG
/* In one restartable sequence until told otherwise: is it one all the time? Whoever is interrupted in it begins
 * anew; the kernel clears the note of a sequence when its thread is elsewhere. */
static uint64_t spin(void)
{
	volatile uint64_t *note = (uint64_t *)((char *)__builtin_thread_pointer() + __rseq_offset + 8);
	uint64_t whole;

	__asm__ volatile(".pushsection .data.rseq_cs, \"aw\"\n"
			 ".balign 32\n"
			 "3: .long 0, 0\n"
			 ".quad 1f, 2f - 1f, 4f\n"
			 ".popsection\n"
			 "0: xorl %k[whole], %k[whole]\n"
			 "leaq 3b(%%rip), %%rax\n"
			 "movq %%rax, (%[note])\n"
			 "1: cmpq $0, (%[note])\n"
			 "je 2f\n"
			 "cmpl $0, (%[end])\n"
			 "je 1b\n"
			 "movl $1, %k[whole]\n"
			 "2:\n"
			 ".pushsection .text.rseq_abort, \"ax\"\n"
			 ".byte 0x0f, 0xb9, 0x3d\n"
			 ".long %c[sig]\n"
			 "4: jmp 0b\n"
			 ".popsection\n"
			 : [whole] "=&r"(whole)
			 : [note] "r"(note), [end] "r"(spin_no_more), [sig] "i"(RSEQ_SIG)
			 : "rax", "cc", "memory");
	*note = 0;
	return whole;
}
#else
static uint64_t spin(void)
{
	return 0;
}
#endif

/* Returns what the parent wants to know: an address, a pid, a number. */
static uint64_t obey(const struct command *c)
{
	volatile uint8_t *page = region + PAGES_TO_BYTES(c->page);
	pthread_t thread;
	pid_t pid;

	switch (c->order) {
	case WRITE_PAGE:
		(*page)++;
		return 0;
	case VFORK:
		pid = vfork();
		if (pid == 0)
			serve((uint64_t)getpid());
		return 0;
	case LEAVE:
		_exit(0);
	case RESIZE:
		return resize(map_filled());
	case FORK_ON:
		return (uint64_t)pthread_create(&thread, NULL, fork_on, NULL);
	case FORKS_BAD:
		return forks_bad;
	case SIGNALS_SEEN:
		return signals_seen;
	case SIGNALS_KEPT:
		return signals_are_as_they_were();
	case SPIN:
		return spin();
	case EXEC_ON:
		/* One program after the other, for a while, at the same pid. */
		execlp("sh", "sh", "-c", "[ $1 = 0 ] || exec sh -c \"$0\" \"$0\" $(($1 - 1))",
			"[ $1 = 0 ] || exec sh -c \"$0\" \"$0\" $(($1 - 1))", "400", NULL);
		return 0;
	}
	return 0;
}

static uint64_t serve(uint64_t answer)
{
	struct command command;

	while (write(me->answers[1], &answer, sizeof(answer)) > 0 &&
		read(me->orders[0], &command, sizeof(command)) > 0)
		answer = obey(&command);
	_exit(0);
}

static void child_main(struct child *c)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	take_signals();
	me = c;
	region = map_filled();
	serve((uintptr_t)region);
}

static uint64_t take_answer(struct child *c)
{
	uint64_t v;

	assert_int_equal(read(c->answers[0], &v, sizeof(v)), sizeof(v));
	return v;
}

static void order(struct child *c, enum order order, uint32_t page)
{
	struct command command = {order, page};

	assert_int_equal(write(c->orders[1], &command, sizeof(command)), sizeof(command));
}

static uint64_t tell(struct child *c, enum order what, uint32_t page)
{
	order(c, what, page);
	return what == EXEC_ON ? 0 : take_answer(c);
}

struct scene {
	struct child child;
	struct tracker *tracker;
	struct tracker_scan scan;
};

/* What the child has written now. */
static const struct ranges *look(struct scene *s)
{
	struct err e = ERR_INIT;

	tracker_scan_done(&s->scan);
	assert_int_equal(tracker_scan(s->tracker, &s->child.pid, 1, false, &s->scan, &e), 0);
	assert_int_equal(s->scan.n, 1);
	return &s->scan.v[0].written;
}

static uint64_t page_at(const struct scene *s, uint32_t page)
{
	return s->child.base + PAGES_TO_BYTES(page);
}

static bool is_written(const struct scene *s, uint32_t page)
{
	return ranges_find(&s->scan.v[0].written, page_at(s, page)) != NULL;
}

static void set_up(struct scene *s)
{
	struct err e = ERR_INIT;

	*s = (struct scene){0};
	if (tracker_new(BACKEND, &s->tracker, &e) == -ENOSYS)
		skip();
	tracker_free(s->tracker);
	assert_int_equal(pipe(s->child.orders), 0);
	assert_int_equal(pipe(s->child.answers), 0);
	s->child.pid = fork();
	if (s->child.pid == 0)
		child_main(&s->child);
	s->child.base = take_answer(&s->child);
	s->tracker = track(BACKEND, s->child.pid, &s->scan);
	assert_true(ranges_contain(&s->scan.v[0].written, s->child.base, s->child.base + REGION));
	look(s);
	assert_false(is_written(s, 5));
}

static void tear_down(struct scene *s)
{
	tracker_scan_done(&s->scan);
	tracker_free(s->tracker);
	kill(s->child.pid, SIGKILL);
	waitpid(s->child.pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(s->child.orders[i]);
		close(s->child.answers[i]);
	}
}

static void attach_again(struct scene *s)
{
	tracker_scan_done(&s->scan);
	tracker_free(s->tracker);
	s->tracker = track(BACKEND, s->child.pid, &s->scan);
}

static void one_in_vfork_takes_no_report_from_its_parent(void **state)
{
	struct scene s;
	struct err e = ERR_INIT;
	pid_t both[2];

	(void)state;
	set_up(&s);
	both[0] = s.child.pid;
	both[1] = (pid_t)tell(&s.child, VFORK, 0);
	tell(&s.child, WRITE_PAGE, 5);
	tracker_scan_done(&s.scan);
	assert_int_equal(tracker_scan(s.tracker, &both[1], 1, false, &s.scan, &e), 0);
	assert_int_equal(s.scan.n, 0);
	tell(&s.child, WRITE_PAGE, 6);
	tracker_scan_done(&s.scan);
	assert_int_equal(tracker_scan(s.tracker, both, 2, true, &s.scan, &e), 0);
	assert_int_equal(s.scan.n, 2);
	assert_true(is_written(&s, 5));
	assert_true(is_written(&s, 6));
	assert_true(s.scan.v[1].untracked);
	assert_true(ranges_contain(&s.scan.v[1].written, s.child.base, s.child.base + REGION));
	tell(&s.child, LEAVE, 0);
	tear_down(&s);
}

static void signals_are_untouched(void **state)
{
	struct scene s;
	int sent = 0;

	(void)state;
	set_up(&s);
	for (int i = 0; i < ATTACHMENTS; i++) {
		for (int k = 0; k < 20; k++)
			sent += sigqueue(s.child.pid, SIGRTMIN, (union sigval){.sival_int = sent}) == 0;
		attach_again(&s);
	}
	assert_int_equal(tell(&s.child, SIGNALS_SEEN, 0), sent);
	assert_int_equal(tell(&s.child, SIGNALS_KEPT, 0), 1);
	tear_down(&s);
}

static char state_of(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	assert_int_equal(file_read(path, 4096, &text, NULL), 0);
	return strrchr(text, ')')[2];
}

static void a_stopped_process_stays_so(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	kill(s.child.pid, SIGSTOP);
	assert_int_equal(waitpid(s.child.pid, NULL, WUNTRACED), s.child.pid);
	attach_again(&s);
	for (int i = 0; i < 200 && state_of(s.child.pid) != 'T'; i++)
		usleep(1000);
	assert_int_equal(state_of(s.child.pid), 'T');
	kill(s.child.pid, SIGCONT);
	tell(&s.child, WRITE_PAGE, 5);
	look(&s);
	assert_true(is_written(&s, 5));
	assert_false(is_written(&s, 6));
	tear_down(&s);
}

/* As attaching leaves it when it is stopped: interrupted, once for its stop and once for our interrupt. */
static void hold_stopped(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
}

/* It shares our processor, which we don't leave to it before we have looked. */
static bool let_go_and_look(pid_t pid)
{
	struct sched_param first = {.sched_priority = 1}, none = {0};
	bool runs;

	if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
		skip();
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	runs = process_runs(pid);
	sched_setscheduler(0, SCHED_OTHER, &none);
	return runs;
}

static void what_is_let_go_of_runs_as_far_as_to_its_stop(void **state)
{
	struct timespec tick = {.tv_nsec = 1000000};
	cpu_set_t here, before;
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		for (;;)
			pause();
	assert_true(pid > 0);
	CPU_ZERO(&here);
	CPU_SET((unsigned)sched_getcpu(), &here);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(here), &here), 0);
	assert_int_equal(sched_setaffinity(pid, sizeof(here), &here), 0);
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_false(process_runs(pid));
	hold_stopped(pid);
	assert_int_equal(state_of(pid), 't');
	assert_true(let_go_and_look(pid));
	while (process_runs(pid))
		nanosleep(&tick, NULL);
	assert_int_equal(state_of(pid), 'T');
	sched_setaffinity(0, sizeof(before), &before);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void no_child_of_another_thread_inherits_the_descriptor(void **state)
{
	struct scene s;

	(void)state;
	set_up(&s);
	assert_int_equal(tell(&s.child, FORK_ON, 0), 0);
	for (int i = 0; i < 10 * ATTACHMENTS; i++)
		attach_again(&s);
	assert_int_equal(tell(&s.child, FORKS_BAD, 0), 0);
	tear_down(&s);
}

/* Its code is elsewhere each time. */
static void exec_at_any_time_does_no_harm(void **state)
{
	struct scene s;
	struct err e = ERR_INIT;
	int status;
	pid_t r;

	(void)state;
	set_up(&s);
	tell(&s.child, EXEC_ON, 0);
	while ((r = waitpid(s.child.pid, &status, WNOHANG)) == 0) {
		tracker_scan_done(&s.scan);
		tracker_free(s.tracker);
		assert_int_equal(tracker_new(BACKEND, &s.tracker, &e), 0);
		assert_int_equal(tracker_scan(s.tracker, &s.child.pid, 1, false, &s.scan, &e), 0);
	}
	assert_int_equal(r, s.child.pid);
	assert_int_equal(status, 0);
	tear_down(&s);
}

static void a_region_can_grow_at_any_time(void **state)
{
	struct scene s;
	struct pollfd p;

	(void)state;
	set_up(&s);
	p = (struct pollfd){.fd = s.child.answers[0], .events = POLLIN};
	order(&s.child, RESIZE, 0);
	while (poll(&p, 1, 0) == 0)
		attach_again(&s);
	assert_int_equal(take_answer(&s.child), 0);
	tear_down(&s);
}

static void a_restartable_sequence_is_none_in_part(void **state)
{
	struct scene s;

	(void)state;
	if (!HAS_RSEQ)
		skip();
	spin_no_more = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	set_up(&s);
	order(&s.child, SPIN, 0);
	for (int i = 0; i < ATTACHMENTS; i++)
		attach_again(&s);
	*spin_no_more = 1;
	assert_int_equal(take_answer(&s.child), 1);
	tear_down(&s);
	munmap(spin_no_more, PAGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_in_vfork_takes_no_report_from_its_parent),
		cmocka_unit_test(signals_are_untouched),
		cmocka_unit_test(a_stopped_process_stays_so),
		cmocka_unit_test(what_is_let_go_of_runs_as_far_as_to_its_stop),
		cmocka_unit_test(no_child_of_another_thread_inherits_the_descriptor),
		cmocka_unit_test(exec_at_any_time_does_no_harm),
		cmocka_unit_test(a_region_can_grow_at_any_time),
		cmocka_unit_test(a_restartable_sequence_is_none_in_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
