/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/confine.h"

#include "base/count.h"
#include "base/file.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EMPTY_DIR "/run/godwit/empty"
#define NOBODY 65534 /* systemd's UIDS-GIDS: the kernel's overflow user, which owns nothing */
#define FILES_MAX 64

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH?"
#endif

/* --- system calls ----------------------------------------------------------------------------- */

/* What reading, writing and waiting, OpenSSL, zstd and malloc() use. Nothing that takes a path or makes a
 * descriptor, but for those that another process sends; no ioctl(), whose calls are without number. */
static const int allowed[] = {
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg,
	SYS_shutdown, SYS_close, SYS_ppoll, SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_futex,
	SYS_getrandom, SYS_clock_gettime, SYS_gettimeofday, SYS_sched_yield, SYS_getpid, SYS_gettid,
	SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_restart_syscall, SYS_exit, SYS_exit_group,
#ifdef SYS_poll
	SYS_poll,
#endif
#ifdef __SANITIZE_ADDRESS__
	SYS_sigaltstack, /* asked for its state before each _exit() */
#endif
};

/* Allowed without PROT_EXEC, which is the third argument of both. */
static const int allowed_for_data[] = {SYS_mmap, SYS_mprotect};

#define LOAD(member) (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
/* Goes on with the next instruction if it is so, else skips @others. */
#define UNLESS_SKIP(value, others) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (others))
#define SKIP_IF(value, others) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (others), 0)
#define SKIP_IF_SET(bits, others) (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), (others), 0)
#define RETURN(what) (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE RETURN(SECCOMP_RET_ERRNO | EPERM)

/* The lower half of an argument comes first on the machines above. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the order of seccomp_data's arguments");

int confine_calls(void)
{
	struct sock_filter f[5 + 2 * COUNT(allowed) + 5 * COUNT(allowed_for_data)];
	struct sock_fprog program = {.filter = f};
	unsigned short n = 0;

	f[n++] = LOAD(arch);
	f[n++] = SKIP_IF(ARCH, 1);
	f[n++] = RETURN(SECCOMP_RET_KILL_PROCESS);
	f[n++] = LOAD(nr);
	for (size_t i = 0; i < COUNT(allowed); i++) {
		f[n++] = UNLESS_SKIP((unsigned)allowed[i], 1);
		f[n++] = RETURN(SECCOMP_RET_ALLOW);
	}
	for (size_t i = 0; i < COUNT(allowed_for_data); i++) {
		f[n++] = UNLESS_SKIP((unsigned)allowed_for_data[i], 4);
		f[n++] = LOAD(args[2]);
		f[n++] = SKIP_IF_SET(PROT_EXEC, 1);
		f[n++] = RETURN(SECCOMP_RET_ALLOW);
		f[n++] = REFUSE;
	}
	f[n++] = REFUSE;
	program.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	return 0;
}

/* --- rights ----------------------------------------------------------------------------------- */

static int drop_bounds(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* poll(2) takes no more descriptors than may be open. */
static int limit(void)
{
	static const struct {
		int what;
		rlim_t most;
	} limits[] = {{RLIMIT_NPROC, 0}, {RLIMIT_CORE, 0}, {RLIMIT_NOFILE, FILES_MAX}};

	for (size_t i = 0; i < COUNT(limits); i++)
		if (setrlimit(limits[i].what, &(struct rlimit){limits[i].most, limits[i].most}) < 0)
			return -errno;
	return 0;
}

static int enter_empty_dir(void)
{
	int r = dir_make(EMPTY_DIR, 0700);

	if (r < 0)
		return r;
	return chroot(EMPTY_DIR) < 0 || chdir("/") < 0 ? -errno : 0;
}

static int become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return drop_capabilities();
}

int confine_process(void)
{
	int r;

#ifdef GODWIT_FAULTS
	/* base/fault.h has files to read and to write; nobody uses such a build. */
	return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
#endif
	r = enter_empty_dir();
	if (r == 0)
		r = drop_bounds();
	if (r == 0)
		r = limit();
	if (r == 0)
		r = become_nobody();
	/* A change of rights forgets the first. */
	if (r == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0))
		r = -errno;
	return r < 0 ? r : confine_calls();
}
