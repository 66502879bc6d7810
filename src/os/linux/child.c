/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children, by pidfd: readable when the process has ended, and never another
 * process, as a number could be.
 */
#include "child.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

KILN__SYSCALLS(waitid, poll, ppoll);

bool kiln__posix_child_reap(struct kiln__child *child, struct kiln__exit *how)
{
	siginfo_t info = {0};

	while (waitid(P_PIDFD, (id_t)child->event, &info, WEXITED | WNOHANG) < 0) {
		struct pollfd readable = {.fd = child->event, .events = POLLIN};

		if (errno == EINTR)
			continue;
		/* Detached, or reaped by a wait for any child elsewhere in this program. */
		if (errno != ECHILD || poll(&readable, 1, 0) != 1)
			return false;
		*how = (struct kiln__exit){.code = -1};
		return true;
	}
	if (info.si_pid == 0)
		return false;
	*how = (struct kiln__exit){
		.signaled = info.si_code != CLD_EXITED,
		.code = info.si_status,
	};
	return true;
}

int kiln__os_adopt_orphans(kiln_error *err)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return kiln__fail_errno(err, errno, "cannot take orphans for children");
	return 0;
}

int kiln__child_adopt(struct kiln__child **ret, int64_t pid, kiln_error *err)
{
	struct kiln__child *child;
	siginfo_t info;
	int fd = pid > 0 && pid <= INT32_MAX ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1;

	if (fd < 0)
		return kiln__fail(err, KILN_ENOENT, "there is no process %lld", (long long)pid);
	/* Asks, and reaps nothing. */
	if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
		close(fd);
		return kiln__fail(err, KILN_ENOENT, "process %lld is no child", (long long)pid);
	}
	child = calloc(1, sizeof(*child));
	if (!child) {
		close(fd);
		return kiln__fail_nomem(err);
	}
	child->pid = (pid_t)pid;
	child->event = fd;
	*ret = child;
	return 0;
}

int kiln__os_die_with_parent(kiln_error *err)
{
	pid_t parent = getppid();

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return kiln__fail_errno(err, errno, "cannot tie this process to its parent");
	/* It may have ended before the call, which then came too late. */
	if (getppid() != parent)
		raise(SIGKILL);
	return 0;
}
