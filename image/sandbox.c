/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four layers. no_new_privs: nothing set-user-id helps. Landlock: no path but
 * beneath the two directories, whatever their names. Capabilities: none, but for a
 * directory to read the one to read all of it, which root has of itself. seccomp: only
 * system calls that reading, writing, memory and threads need; no socket, no signal to
 * others. tools/seccomp-gen.c reads these lines at build time:
 *
 * Descriptors:
 * syscalls: read write readv writev pread64 pwrite64 lseek close fstat newfstatat statx
 * syscalls: ftruncate fcntl
 * Below the two directories:
 * syscalls: openat openat2 getdents64 readlinkat llistxattr lgetxattr mkdirat fchdir
 * Memory; glibc's qsort() asks how much there is:
 * syscalls: mmap munmap mremap mprotect madvise brk sysinfo
 * Threads and time:
 * syscalls: clone clone3 futex set_robust_list rseq rt_sigprocmask rt_sigreturn sched_yield
 * syscalls: sched_getaffinity gettid getpid clock_gettime gettimeofday getrandom restart_syscall
 * The end; abort() signals this process itself:
 * syscalls: rt_sigaction tgkill exit exit_group
 */
#include "sandbox.h"

#include "cleanup.h"
#include "err.h"
#include "image_filter.h"
#include "os.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int enter_seccomp(kiln_error *err)
{
	const struct sock_fprog program = {
		.len = (unsigned short)(sizeof(image_filter) / sizeof(image_filter[0])),
		.filter = (struct sock_filter *)(uintptr_t)image_filter,
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
