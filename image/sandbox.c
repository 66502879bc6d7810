/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four layers. no_new_privs: nothing set-user-id helps. Landlock: no path but
 * beneath the two directories, whatever their names. Capabilities: none, but for a
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
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

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

extern const struct kiln__jail_filter image_filter; /* made at build time */

static int enter_seccomp(kiln_error *err)
{
	const struct sock_fprog program = {
		.len = (unsigned short)image_filter.count,
		.filter = (struct sock_filter *)(uintptr_t)image_filter.program,
	};

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
		return 0;
	kiln__fail_errno(err, errno, "the sandbox of kiln-image cannot be entered (seccomp)");
	kiln__hint(err, "kiln needs a kernel with CONFIG_SECCOMP_FILTER");
	return KILN_ENOTSUP;
}

/* Root without any could not read the files of other users in a root directory. */
static int drop_capabilities(bool read_all, kiln_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	uint32_t permitted;

	if (syscall(SYS_capget, &header, data))
		return kiln__fail_errno(err, errno, "cannot ask for capabilities");
	permitted = read_all ? data[0].permitted & 1u << CAP_DAC_READ_SEARCH : 0;
	data[0] = (struct __user_cap_data_struct){.permitted = permitted, .effective = permitted};
	data[1] = (struct __user_cap_data_struct){0};
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
	    syscall(SYS_capset, &header, data))
		return kiln__fail_errno(err, errno, "cannot give up capabilities");
	return 0;
}

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define MAKE_RIGHTS                                                                                \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR)
/* What the first version of the interface has. */
#define ALL_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

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
		return kiln__fail_errno(err, errno,
					"the sandbox of kiln-image cannot be entered (Landlock)");
	return 0;
}

int sandbox_enter(kiln_fd read_dir, kiln_fd write_dir, kiln_error *err)
{
	const struct rlimit none = {0, 0};
	int rc;

	/*
	 * Not dumpable: this user's other processes cannot attach, and a hostile image leaves no
	 * core file.
	 */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    setrlimit(RLIMIT_CORE, &none))
		return kiln__fail_errno(err, errno, "the sandbox of kiln-image cannot be entered");
	rc = enter_landlock(read_dir, write_dir, err);
	if (!rc)
		rc = drop_capabilities(read_dir != KILN_FD_NONE, err);
	return rc ? rc : enter_seccomp(err);
}
