/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A foreign program that reads a stranger's file (qemu-img): it is not ours, so that nobody can
 * tell what it has to call, and its filter (seccomp) says what it may not: sockets, other
 * processes, namespaces and mounts, and what of the kernel has no business in a tool that copies
 * blocks. Files (Landlock, as far as the kernel has it) are those that it is linked with and those
 * that it inherits, for as much as they were opened for.
 */
#include "confine.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- files -------------------------------------------------------------------------------- */

#define RIGHTS_V1      ((UINT64_C(1) << 13) - 1)
#define RIGHT_REFER    (UINT64_C(1) << 13) /* version 2 */
#define RIGHT_TRUNCATE (UINT64_C(1) << 14) /* version 3 */

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define LOAD_RIGHTS (READ_RIGHTS | LANDLOCK_ACCESS_FS_EXECUTE)

/* Where programs and what they are linked with lie. */
static const char *const libraries[] = {"/usr", "/lib", "/lib64", "/nix/store", "/gnu/store"};

static const struct {
	const char *path;
	uint64_t rights;
} files[] = {
	{"/etc/ld.so.cache", LANDLOCK_ACCESS_FS_READ_FILE},
	{"/dev/urandom", LANDLOCK_ACCESS_FS_READ_FILE},
	{"/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE},
};

/* What is not there is not needed; what cannot be named (a pipe) needs no rule. */
static void allow(int ruleset, int at, uint64_t rights)
{
	const struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = at};

	syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static void allow_path(int ruleset, const char *path, uint64_t rights)
{
	kiln__autoclose kiln_fd at = open(path, O_PATH | O_CLOEXEC);

	if (at >= 0)
		allow(ruleset, at, rights);
}

/* One that is installed by itself, in /opt say, has its libraries beside its folder. */
static void allow_program(int ruleset, const char *path)
{
	static const char *const beside[] = {"lib", "lib64"};
	kiln__autofree char *whole = realpath(path, NULL);
	const char *prefix;

	if (!whole)
		return;
	allow_path(ruleset, whole, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE);
	prefix = dirname(dirname(whole));
	for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
		kiln__autofree char *folder = kiln__strf("%s/%s", prefix, beside[i]);

		if (folder)
			allow_path(ruleset, folder, LOAD_RIGHTS);
	}
}

int kiln__linux_confine_prepare(const struct kiln__spawn *spawn, int *ret, kiln_error *err)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = {.handled_access_fs = RIGHTS_V1};
	int ruleset;

	*ret = -1;
	if (version < 1) /* no such kernel, or it was switched off at boot */
		return 0;
	if (version >= 2)
		attr.handled_access_fs |= RIGHT_REFER;
	if (version >= 3)
		attr.handled_access_fs |= RIGHT_TRUNCATE;
	ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (ruleset < 0)
		return kiln__fail_errno(err, errno, "cannot make a Landlock ruleset");
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		allow_path(ruleset, libraries[i], LOAD_RIGHTS);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		allow_path(ruleset, files[i].path, files[i].rights);
	allow_program(ruleset, spawn->path);
	for (size_t i = 0; i < spawn->fd_count; i++) {
		int mode = fcntl(spawn->fds[i].from, F_GETFL) & O_ACCMODE;
		uint64_t rights = mode == O_WRONLY ? 0 : LANDLOCK_ACCESS_FS_READ_FILE;

		if (mode != O_RDONLY)
			rights |= LANDLOCK_ACCESS_FS_WRITE_FILE |
				  (attr.handled_access_fs & RIGHT_TRUNCATE);
		allow(ruleset, spawn->fds[i].from, rights);
	}
	*ret = ruleset;
	return 0;
}

long kiln__linux_confine_files(int ruleset)
{
	return ruleset < 0 ? 0 : syscall(SYS_landlock_restrict_self, ruleset, 0);
}

/* --- system calls ------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define LAST 0x3fffffff /* beyond begins the x32 interface */
#else
#define ARCH AUDIT_ARCH_AARCH64
#define LAST 0x7fffffff
#endif

#define LOAD(field)     BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(with)    BPF_STMT(BPF_RET | BPF_K, with)
#define ERROR(code)     ANSWER(SECCOMP_RET_ERRNO | (code))
#define NOT(call, code) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), ERROR(code)

/* clone(2) with flags that make a namespace: CLONE_NEWNS ... CLONE_NEWNET. */
#define NAMESPACES 0x7e020000

static const struct sock_filter filter[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	ANSWER(SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST, 0, 1),
	ANSWER(SECCOMP_RET_KILL_PROCESS),
	/* What there is an older way for, whose arguments can be looked at, or which is not needed.
	 */
	NOT(clone3, ENOSYS),
	NOT(io_uring_setup, ENOSYS),
	NOT(io_uring_enter, ENOSYS),
	NOT(io_uring_register, ENOSYS),
	/* Networks and whoever listens here. */
	NOT(socket, EPERM),
	NOT(connect, EPERM),
	NOT(bind, EPERM),
	NOT(listen, EPERM),
	NOT(accept, EPERM),
	NOT(accept4, EPERM),
	/* What Landlock does not see, or only newer ones do: contents and attributes by name. */
	NOT(truncate, EPERM),
#if defined(__x86_64__)
	NOT(chmod, EPERM),
	NOT(chown, EPERM),
	NOT(lchown, EPERM),
	NOT(utime, EPERM),
	NOT(utimes, EPERM),
	NOT(futimesat, EPERM),
#endif
	NOT(fchmodat, EPERM),
	NOT(fchownat, EPERM),
	NOT(utimensat, EPERM),
	NOT(setxattr, EPERM),
	NOT(lsetxattr, EPERM),
	NOT(removexattr, EPERM),
	NOT(lremovexattr, EPERM),
	/* Other processes of this user. */
	NOT(ptrace, EPERM),
	NOT(process_vm_readv, EPERM),
	NOT(process_vm_writev, EPERM),
	NOT(process_madvise, EPERM),
	NOT(kill, EPERM),
	NOT(tkill, EPERM),
	NOT(tgkill, EPERM),
	NOT(rt_sigqueueinfo, EPERM),
	NOT(rt_tgsigqueueinfo, EPERM),
	NOT(pidfd_open, EPERM),
	NOT(pidfd_getfd, EPERM),
	NOT(pidfd_send_signal, EPERM),
	NOT(kcmp, EPERM),
	NOT(prlimit64, EPERM),
	NOT(setrlimit, EPERM),
	NOT(setpriority, EPERM),
	NOT(ioprio_set, EPERM),
	NOT(sched_setaffinity, EPERM),
	NOT(sched_setscheduler, EPERM),
	NOT(sched_setparam, EPERM),
	NOT(sched_setattr, EPERM),
	NOT(migrate_pages, EPERM),
	NOT(move_pages, EPERM),
	NOT(shmget, EPERM),
	NOT(msgget, EPERM),
	NOT(semget, EPERM),
	NOT(mq_open, EPERM),
	/* Another view of the system. */
	NOT(unshare, EPERM),
	NOT(setns, EPERM),
	NOT(mount, EPERM),
	NOT(umount2, EPERM),
	NOT(pivot_root, EPERM),
	NOT(chroot, EPERM),
	NOT(move_mount, EPERM),
	NOT(mount_setattr, EPERM),
	NOT(open_tree, EPERM),
	NOT(fsopen, EPERM),
	NOT(fsconfig, EPERM),
	NOT(fsmount, EPERM),
	NOT(fspick, EPERM),
	NOT(open_by_handle_at, EPERM),
	NOT(name_to_handle_at, EPERM),
	/* Rarer parts of the kernel. */
	NOT(bpf, EPERM),
	NOT(perf_event_open, EPERM),
	NOT(userfaultfd, EPERM),
	NOT(keyctl, EPERM),
	NOT(add_key, EPERM),
	NOT(request_key, EPERM),
	NOT(personality, EPERM),
	NOT(init_module, EPERM),
	NOT(finit_module, EPERM),
	NOT(delete_module, EPERM),
	NOT(kexec_load, EPERM),
	NOT(reboot, EPERM),
	NOT(quotactl, EPERM),
	NOT(swapon, EPERM),
	NOT(acct, EPERM),
	NOT(syslog, EPERM),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
	LOAD(args[0]),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
	ERROR(EPERM),
	ANSWER(SECCOMP_RET_ALLOW),
};

long kiln__linux_confine_calls(void)
{
	static const struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = (struct sock_filter *)(uintptr_t)filter,
	};

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
