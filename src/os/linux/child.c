/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children, by pidfd: readable when the process has ended, and never another
 * process, as a number could be. No signal handler, no thread.
 */
#include "spawn.h"

#include "err.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct kiln__child {
	pid_t pid;
	int pidfd;
	bool ended;
	struct kiln__exit how; /* once ended */
	struct kiln__watch *watch;
	void (*fn)(void *data, struct kiln__exit how);
	void *data;
};

int kiln__child_spawn(struct kiln__child **ret, const struct kiln__spawn *spawn, kiln_error *err)
{
	struct kiln__child *child = calloc(1, sizeof(*child));
	int r;

	if (!child)
		return kiln__fail_nomem(err);
	r = kiln__linux_spawn(spawn, &child->pid, &child->pidfd, err);
	if (r < 0) {
		free(child);
		return r;
	}
	*ret = child;
	return 0;
}

int64_t kiln__child_pid(const struct kiln__child *child)
{
	return child->pid;
}

/* Reaps the child if it has ended. */
static bool reap(struct kiln__child *child)
{
	siginfo_t info = {0};

	if (child->ended)
		return true;
	while (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG) < 0) {
		struct pollfd readable = {.fd = child->pidfd, .events = POLLIN};

		if (errno == EINTR)
			continue;
		/* Detached, or reaped by a wait for any child elsewhere in this program. */
		if (errno != ECHILD || poll(&readable, 1, 0) != 1)
			return false;
		child->how = (struct kiln__exit){.signaled = false, .code = -1};
		child->ended = true;
		return true;
	}
	if (info.si_pid == 0)
		return false;
	child->how.signaled = info.si_code != CLD_EXITED;
	child->how.code = info.si_status;
	child->ended = true;
	return true;
}

static void on_ended(void *data, int events)
{
	struct kiln__child *child = data;

	(void)events;
	if (!reap(child))
		return;
	kiln__watch_free(child->watch);
	child->watch = NULL;
	child->fn(child->data, child->how);
}

int kiln__child_watch(struct kiln__child *child, kiln_loop *loop,
		      void (*fn)(void *data, struct kiln__exit how), void *data, kiln_error *err)
{
	int r;

	if (child->watch)
		return kiln__fail(err, KILN_ESTATE, "the child is watched already");
	r = kiln__watch_new(&child->watch, loop, child->pidfd, on_ended, child, err);
	if (r < 0)
		return r;
	child->fn = fn;
	child->data = data;
	/* One reaped before by kiln__child_wait() stays readable. */
	kiln__watch_set(child->watch, KILN__READABLE);
	return 0;
}

int kiln__child_wait(struct kiln__child *child, int timeout_ms, struct kiln__exit *ret,
		     kiln_error *err)
{
	int64_t until = kiln__os_monotonic_ns() + (int64_t)timeout_ms * 1000000;

	while (!reap(child)) {
		struct pollfd readable = {.fd = child->pidfd, .events = POLLIN};
		int64_t left = until - kiln__os_monotonic_ns();
		int n;

		if (timeout_ms >= 0 && left < 0)
			left = 0;
		n = poll(&readable, 1, timeout_ms < 0 ? -1 : (int)((left + 999999) / 1000000));
		if (n < 0 && errno != EINTR)
			return kiln__fail_errno(err, errno, "cannot wait for a process");
		if (n == 0)
			return kiln__fail(err, KILN_ETIMEDOUT, "process %d still runs",
					  (int)child->pid);
	}
	*ret = child->how;
	return 0;
}

static void send_signal(struct kiln__child *child, int signal)
{
	if (!child->ended)
		syscall(SYS_pidfd_send_signal, child->pidfd, signal, NULL, 0);
}

void kiln__child_terminate(struct kiln__child *child)
{
	send_signal(child, SIGTERM);
}

void kiln__child_kill(struct kiln__child *child)
{
	send_signal(child, SIGKILL);
}

void kiln__child_free(struct kiln__child *child)
{
	if (!child)
		return;
	kiln__watch_free(child->watch);
	close(child->pidfd);
	free(child);
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
