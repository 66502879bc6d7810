/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three layers. no_new_privs: nothing set-user-id helps. Landlock: no path but
 * beneath the two directories, whatever their names. seccomp: only system calls
 * that reading, writing, memory and threads need; no socket, no exec, no ptrace, no
 * signal to others. What is not on the list kills the process, which libkiln reports.
 */
#include "sandbox.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int allowed[] = {
	/* descriptors */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
	SCMP_SYS(ftruncate), SCMP_SYS(fcntl), SCMP_SYS(statx), SCMP_SYS(ioctl),
	/* below the two directories */
	SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(getdents64), SCMP_SYS(readlinkat),
	SCMP_SYS(llistxattr), SCMP_SYS(lgetxattr), SCMP_SYS(mkdirat), SCMP_SYS(fchdir),
	/* memory */
	SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(sysinfo) /* glibc's qsort() */,
	/* threads and time */
	SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigaction), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(restart_syscall), SCMP_SYS(membarrier),
	/* the end: abort() signals this process itself */
	SCMP_SYS(tgkill), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static int enter_seccomp(kiln_error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc = filter ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && !rc; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (!rc)
		rc = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	if (rc) {
		kiln__fail_errno(err, -rc, "the sandbox of kiln-image cannot be entered (seccomp)");
		kiln__hint(err, "kiln needs a kernel with CONFIG_SECCOMP_FILTER");
		return KILN_ENOTSUP;
	}
	return 0;
}

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define MAKE_RIGHTS                                                                                \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR)
#define ALL_RIGHTS  ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* the first version of the interface has these */

static int allow_beneath(int ruleset, kiln_fd dir, uint64_t rights)
{
	const struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = dir};

	if (dir == KILN_FD_NONE)
		return 0;
	return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int enter_landlock(kiln_fd read_dir, kiln_fd write_dir, kiln_error *err)
{
	const struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_RIGHTS};
	kiln__autoclose kiln_fd ruleset =
		(kiln_fd)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	if (ruleset < 0 || allow_beneath(ruleset, read_dir, READ_RIGHTS) ||
	    allow_beneath(ruleset, write_dir, MAKE_RIGHTS) ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0))
		return kiln__fail_errno(err, errno, "the sandbox of kiln-image cannot be entered (Landlock)");
	return 0;
}

int sandbox_enter(kiln_fd read_dir, kiln_fd write_dir, kiln_error *err)
{
	const struct rlimit none = {0, 0};
	int rc;

	/* Not dumpable: this user's other processes cannot attach, and a hostile image leaves no core file. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    setrlimit(RLIMIT_CORE, &none))
		return kiln__fail_errno(err, errno, "the sandbox of kiln-image cannot be entered");
	rc = enter_landlock(read_dir, write_dir, err);
	return rc ? rc : enter_seccomp(err);
}
