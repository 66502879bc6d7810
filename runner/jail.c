/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the runner gives up before the guest runs. What it keeps: its open descriptors,
 * making and replacing files in the VM's state and runtime directories, reading /proc (for stats),
 * and the system calls that its files declare (syscalls.h); those of the libraries stand here.
 */
#include "runner.h"

#include "buf.h"
#include "err.h"
#include "jail.h"
#include "log.h"
#include "syscalls.h"

#include <stdlib.h>
#include <string.h>

/* The C library's memory; a large block grows by mremap. Nothing becomes executable any more. */
KILN__SYSCALLS(brk, mmap(2 & 4 = 0), munmap, mprotect(2 & 4 = 0), mremap, madvise);
/* Its locks; what the kernel has a call go on with after a stop; the end. */
KILN__SYSCALLS(futex, restart_syscall, exit, exit_group);
/*
 * abort() unblocks its signal, tries to raise it, which is not to be had (tgkill would reach
 * other processes of this user too), and ends by an instruction that no process may execute.
 */
KILN__SYSCALLS(rt_sigprocmask, rt_sigaction, gettid, getpid);
/* jansson calls nothing once its first object is made: it has seeded its hash by then. */
/* libuv: base/loop.c. */

KILN__SYSCALLS_OF_SANITIZERS;

extern const struct kiln__jail_filter runner_filter; /* made at build time */

/* In a root of its own, jail.h: what writes to these directories looks where they are each time. */
static int move_to_root(struct runner *runner, kiln_error *err)
{
	char *dir = strdup(strrchr(runner->dir, '/'));
	char *runtime_dir = strdup("");
	int r;

	if (!dir || !runtime_dir) {
		free(dir);
		free(runtime_dir);
		return kiln__fail_nomem(err);
	}
	free(runner->dir);
	free(runner->runtime_dir);
	runner->dir = dir;
	runner->runtime_dir = runtime_dir;
	r = runner->vsock ? kiln__vsock_unix_moved(runner->vsock, runtime_dir, err) : 0;
	return r < 0 ? r : kiln__machine_moved(runner->machine, runtime_dir, err);
}

int runner_jail(struct runner *runner, kiln_error *err)
{
	const char *const writable[] = {runner->runtime_dir, runner->dir};
	const char *const readable[] = {"/proc"};
	const struct kiln__jail jail = {
		.writable = writable,
		.writable_count = 2,
		.readable = readable,
		.readable_count = 1,
		/* Nobody else can be signalled: the filter has that by the kept numbers alone. */
		.kills_all = runner->leaves,
		.filter = &runner_filter,
	};
	int r = kiln__machine_keep_processes(runner->machine, err);

	if (r == 0)
		r = kiln__os_jail(&jail, &runner->jail, err);
	if (r == 0 && runner->jail.own_root)
		r = move_to_root(runner, err);
	if (r < 0)
		return kiln__stage(err, "jail"), r;
	if (!runner->jail.own_root)
		kiln__log(&runner->logger, KILN_LOG_WARN,
			  "this process has no root directory of its own: %s",
			  runner->jail.why_not.message);
	if (!runner->jail.landlock)
		kiln__log(&runner->logger, KILN_LOG_WARN, "this kernel has no Landlock%s",
			  runner->jail.own_root ? "" : ": files are not confined");
	return 0;
}
