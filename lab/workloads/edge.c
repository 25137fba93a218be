/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge [MB [PROCESSES]]: sleeps with its stack pointer at the very beginning of a page, and verifies its memory whenever
 * it wakes up. In a process with such a thread CRIU takes all memory for stack, which it doesn't leave to a lazy
 * restore. /run/status: "ok N" for so many times, or "WRONG N", also when another process has found that.
 */
#include "status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MB (1u << 20)
#define PAGE_WORDS (4096 / sizeof(uint64_t))
#define SLEEP_NS 10000000

#ifdef __x86_64__
static long sleep_at_edge(const struct timespec *ts)
{
	long r = SYS_nanosleep;

	__asm__ volatile("mov %%rsp, %%rbx\n\tand $-4096, %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
			 : "+a"(r)
			 : "D"(ts), "S"(0)
			 : "rbx", "rcx", "r11", "memory");
	return r;
}
#else /* 64-bit ARM */
static long sleep_at_edge(const struct timespec *ts)
{
	register long number __asm__("x8") = SYS_nanosleep;
	register const void *first __asm__("x0") = ts;
	register const void *second __asm__("x1") = NULL;

	__asm__ volatile("mov x19, sp\n\tand x9, x19, #0xfffffffffffff000\n\tmov sp, x9\n\tsvc #0\n\tmov sp, x19"
			 : "+r"(first)
			 : "r"(number), "r"(second)
			 : "x9", "x19", "memory");
	return (long)first;
}
#endif

static uint64_t word(size_t page)
{
	return page * 0x9e3779b97f4a7c15u + 1;
}

static bool is_intact(const uint64_t *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		if (p[i * PAGE_WORDS] != word(i))
			return false;
	return true;
}

static uint64_t *fill(size_t pages)
{
	uint64_t *p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(2);
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE_WORDS] = word(i);
	return p;
}

static void be_another(size_t pages)
{
	const struct timespec ts = {.tv_nsec = SLEEP_NS};
	uint64_t *p = fill(pages);

	while (is_intact(p, pages))
		sleep_at_edge(&ts);
	_exit(1);
}

int main(int argc, char **argv)
{
	size_t pages = (argc > 1 ? (size_t)atoi(argv[1]) : 32) * MB / 4096;
	const struct timespec ts = {.tv_nsec = SLEEP_NS};
	uint64_t *p = fill(pages);
	unsigned long n = 0;

	for (int i = argc > 2 ? atoi(argv[2]) : 1; i > 1; i--)
		if (fork() == 0)
			be_another(pages);
	while (is_intact(p, pages) && waitpid(-1, NULL, WNOHANG) <= 0) {
		status("ok %lu", ++n);
		sleep_at_edge(&ts);
	}
	status("WRONG %lu", n);
	for (;;)
		pause();
}
