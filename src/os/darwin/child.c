/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children. That one has ended shows at a descriptor: the keeper's pipe (spawn.c) for
 * a program tied to us, else a kqueue that waits for the process.
 */
#include "child.h"

#include "err.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/event.h>
#include <sys/wait.h>
#include <unistd.h>

int kiln__darwin_queue_for(pid_t pid)
{
	struct kevent change;
	int queue = kqueue();
	int code;

	if (queue < 0)
		return -errno;
	fcntl(queue, F_SETFD, FD_CLOEXEC);
	EV_SET(&change, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	if (kevent(queue, &change, 1, NULL, 0, NULL) == 0)
		return queue;
	if (errno == ESRCH) {
		/* It has ended already: an event that we cause ourselves stands for it. */
		EV_SET(&change, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
		if (kevent(queue, &change, 1, NULL, 0, NULL) == 0)
			return queue;
	}
	code = errno;
	close(queue);
	return -code;
}

static struct kiln__exit decode(int status)
{
	if (WIFSIGNALED(status))
		return (struct kiln__exit){.signaled = true, .code = WTERMSIG(status)};
	return (struct kiln__exit){.code = WEXITSTATUS(status)};
}

static pid_t wait_for(pid_t pid, int *status, int options)
{
	pid_t r;

	do
		r = waitpid(pid, status, options);
	while (r < 0 && errno == EINTR);
	return r;
}

bool kiln__posix_child_reap(struct kiln__child *child, struct kiln__exit *how)
{
	struct pollfd readable = {.fd = child->event, .events = POLLIN};
	bool over = poll(&readable, 1, 0) == 1;
	int status = 0;
	pid_t pid;

	*how = (struct kiln__exit){.code = -1};
	if (child->keeper || child->detached) {
		if (!over)
			return false;
		if (!child->keeper)
			return true;
		if (kiln__os_read(child->event, &status, sizeof(status)) == sizeof(status))
			*how = decode(status);
		wait_for(child->keeper, NULL, 0);
		return true;
	}
	/* The kqueue tells an end a moment before waitpid() would: wait out that moment. */
	pid = wait_for(child->pid, &status, over ? 0 : WNOHANG);
	if (pid > 0)
		*how = decode(status);
	return pid != 0;
}

void kiln__posix_child_signal(const struct kiln__child *child, int signal)
{
	kill(child->pid, signal);
}

static void *end_with_parent(void *data)
{
	int queue = (int)(intptr_t)data;
	struct kevent event;

	while (kevent(queue, NULL, 0, &event, 1, NULL) < 0 && errno == EINTR)
		;
	kill(getpid(), SIGKILL);
	return NULL;
}

/* A thread that sleeps until the parent ends: the system has nothing lighter. */
int kiln__os_die_with_parent(kiln_error *err)
{
	pid_t parent = getppid();
	int queue = kiln__darwin_queue_for(parent);
	pthread_t thread;
	int code;

	if (queue < 0)
		return kiln__fail_errno(err, -queue, "cannot tie this process to its parent");
	code = pthread_create(&thread, NULL, end_with_parent, (void *)(intptr_t)queue);
	if (code) {
		close(queue);
		return kiln__fail_errno(err, code, "cannot tie this process to its parent");
	}
	pthread_detach(thread);
	if (getppid() != parent)
		kill(getpid(), SIGKILL);
	return 0;
}

int kiln__os_adopt_orphans(kiln_error *err)
{
	return kiln__fail(err, KILN_ENOTSUP, "macOS gives orphans to launchd alone");
}

int kiln__child_adopt(struct kiln__child **ret, int64_t pid, kiln_error *err)
{
	(void)ret;
	return kiln__fail(err, KILN_ENOENT, "process %lld is no child of this one", (long long)pid);
}

/* Nothing is confined here. */
int kiln__child_keep(struct kiln__child *child, unsigned *count, kiln_error *err)
{
	(void)child;
	(void)count;
	(void)err;
	return 0;
}
