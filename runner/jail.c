/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: a declaration is read up to the end of its line */
/*
 * What the runner gives up before the guest runs. What it keeps: its open descriptors,
 * making and replacing files in the VM's state and runtime directories, reading /proc (for stats), and
 * the system calls below, each of which some code in it makes. tools/seccomp-gen.c
 * reads these lines at build time.
 *
 * The loop (libuv):
 * syscalls: epoll_wait epoll_pwait epoll_ctl clock_gettime timerfd_settime eventfd2
 * Streams, vhost-user, the control socket; no other family than AF_UNIX (1):
 * syscalls: read readv write writev recvmsg recvfrom sendmsg sendto close accept4
 * syscalls: socket(0=1) connect bind listen shutdown getsockopt setsockopt getsockname
 * syscalls: fcntl ioctl(1=0x5421) ioctl(1=0x541b) dup
 * Files of the VM's directories:
 * syscalls: openat openat2 fstat newfstatat statx lseek pread64 pwrite64 ftruncate fsync fdatasync
 * syscalls: rename renameat renameat2 linkat unlink unlinkat rmdir getdents64 fchmod flock readlinkat
 * The VMM's process:
 * syscalls: pidfd_send_signal waitid wait4 poll ppoll
 * Memory, and guest memory that QEMU hands over:
 * syscalls: mmap munmap mprotect mremap madvise brk fstatfs
 * The C library:
 * syscalls: futex getrandom gettid getpid getuid geteuid getrusage rt_sigreturn rt_sigprocmask
 * syscalls: restart_syscall sched_yield
 * The end; abort() signals this process itself:
 * syscalls: rt_sigaction tgkill exit exit_group
 */
/* clang-format on */
#include "runner.h"

#include "err.h"
#include "jail.h"
#include "log.h"
#include "runner_filter.h"

int runner_jail(const struct runner *runner, kiln_error *err)
{
	const char *const writable[] = {runner->dir, runner->runtime_dir};
	const char *const readable[] = {"/proc"};
	const struct kiln__jail_filter filter = {
		.program = runner_filter,
		.count = sizeof(runner_filter) / sizeof(runner_filter[0]),
	};
	const struct kiln__jail jail = {
		.writable = writable,
		.writable_count = 2,
		.readable = readable,
		.readable_count = 1,
		.filter = &filter,
	};
	struct kiln__jail_report report;
	int r = kiln__os_jail(&jail, &report, err);

	if (r < 0)
		return kiln__stage(err, "jail"), r;
	if (!report.landlock)
		kiln__log(&runner->logger, KILN_LOG_WARN,
			  "this kernel has no Landlock: files are not confined");
	return 0;
}
