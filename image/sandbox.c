/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Five layers, all but the first by kiln__os_jail(). Limits of memory and of CPU time.
 * no_new_privs: nothing set-user-id helps. Landlock: no path but
 * beneath the directories named, whatever their names. Capabilities: none, but for a
 * directory to read the one to read all of it, which root has of itself. seccomp: only
 * system calls that reading, writing, memory and threads need; no socket, no signal to
 * others: those that its files declare (syscalls.h), and the libraries' which stand here.
 */
#include "sandbox.h"

#include "cleanup.h"
#include "err.h"
#include "jail.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

/* Memory; glibc's qsort() asks how much there is. Nothing becomes executable any more. */
KILN__SYSCALLS(brk, mmap(2 & 4 = 0), munmap, mprotect(2 & 4 = 0), mremap, madvise, sysinfo);
/* Compressors' threads: CLONE_THREAD, and none of the flags that make a namespace. */
KILN__SYSCALLS(clone(0 & 0x7e030000 = 0x10000), futex, set_robust_list, rseq, sched_getaffinity);
KILN__SYSCALLS(sched_yield, restart_syscall, clock_gettime, gettimeofday, getrandom);
/* libarchive reads the input through kiln-image; what is left is what it makes sure of. */
KILN__SYSCALLS(read, fstat, newfstatat, lseek);
/*
 * abort() unblocks its signal, tries to raise it, which is not to be had (tgkill would reach
 * other processes of this user too), and ends by an instruction that no process may execute.
 */
KILN__SYSCALLS(rt_sigprocmask, rt_sigaction, gettid, getpid);
/* What is said at the end, and the end. */
KILN__SYSCALLS(write, close, exit, exit_group);

KILN__SYSCALLS_OF_SANITIZERS;

/*
 * Bounds on what an input can cost whoever has it read. Memory: a kernel is unpacked there whole,
 * and compressors have some MiB a thread; a role that says how much it takes has that and its
 * threads' stacks, which count by their size and take next to nothing. Time, of all threads: xz or
 * zstd of the largest root image that is allowed.
 */
#define MAX_MEMORY  (UINT64_C(2) << 30)
#define MAX_CPU     3600
#define THREAD_ROOM (UINT64_C(16) << 20)

static uint64_t stack_size(void)
{
	pthread_attr_t attributes;
	size_t size = 0;

	if (pthread_attr_init(&attributes) || pthread_attr_getstacksize(&attributes, &size))
		return 0;
	pthread_attr_destroy(&attributes);
	return size;
}

static int set_limits(const struct sandbox *sandbox, kiln_error *err)
{
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
	const rlim_t memory = RLIM_INFINITY; /* its shadow is as large as the address space */
#else
	const rlim_t memory = sandbox->memory ? sandbox->memory + sandbox->threads * stack_size()
					      : MAX_MEMORY + sandbox->threads * THREAD_ROOM;
#endif
	const struct rlimit bytes = {memory, memory};
	/* The soft one ends it by a signal that tells why; the hard one in any case. */
	const struct rlimit seconds = {MAX_CPU, MAX_CPU + 5};

	(void)sandbox;
	(void)stack_size;
	if (setrlimit(RLIMIT_DATA, &bytes) || setrlimit(RLIMIT_CPU, &seconds))
		return kiln__fail_errno(err, errno, "kiln-image cannot limit itself");
	return 0;
}

int sandbox_enter(const struct sandbox *sandbox, kiln_error *err)
{
	const struct kiln__jail jail = {
		.places = sandbox->places,
		.place_count = sandbox->place_count,
		.keeps_root =
			true, /* nothing local is connected to, and Landlock keeps the rest away */
		.reads_all = sandbox->reads_all,
		.network = sandbox->network,
		.filter = sandbox->filter,
	};
	struct kiln__jail_report report;
	int r = set_limits(sandbox, err);

	if (r == 0)
		r = kiln__os_jail(&jail, &report, err);
	if (r < 0)
		kiln__prefix(err, "the sandbox of kiln-image cannot be entered");
	return r;
}
