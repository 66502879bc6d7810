/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children. Each has a descriptor that tells its end, so that neither a signal
 * handler nor a thread is needed; how it is made is the system's business.
 */
#include "child.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

KILN__SYSCALLS(poll, ppoll, close);

/* The highest number that a descriptor can have in the child, and so the most gaps to close. */
#define MAX_NUMBER 255

/* Raises *@top to the highest number in the child. */
static int check(const struct kiln__spawn *spawn, int *top, kiln_error *err)
{
	if (spawn->detached && spawn->die_with_parent)
		return kiln__fail(err, KILN_EINVAL,
				  "a detached process cannot end with its parent");
	for (size_t i = 0; i < spawn->fd_count; i++) {
		int to = spawn->fds[i].to;

		if (to < 0 || to > MAX_NUMBER)
			return kiln__fail(err, KILN_EINVAL, "descriptor number %d is out of range",
					  to);
		if (to > *top)
			*top = to;
	}
	return 0;
}

int kiln__child_spawn(struct kiln__child **ret, const struct kiln__spawn *spawn, kiln_error *err)
{
	struct kiln__child *child;
	int top = 2;
	int r = check(spawn, &top, err);

	if (r < 0)
		return r;
	child = calloc(1, sizeof(*child));
	if (!child)
		return kiln__fail_nomem(err);
	child->detached = spawn->detached;
	r = kiln__posix_child_start(child, spawn, top, err);
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

bool kiln__child_is_offline(const struct kiln__child *child)
{
	return child->offline;
}

static bool has_ended(struct kiln__child *child)
{
	if (!child->ended)
		child->ended = kiln__posix_child_reap(child, &child->how);
	return child->ended;
}

static void on_event(void *data, int events)
{
	struct kiln__child *child = data;

	(void)events;
	if (!has_ended(child))
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
	r = kiln__watch_new(&child->watch, loop, child->event, on_event, child, err);
	if (r < 0)
		return r;
	child->fn = fn;
	child->data = data;
	kiln__watch_set(child->watch, KILN__READABLE);
	return 0;
}

int kiln__child_wait(struct kiln__child *child, int timeout_ms, struct kiln__exit *ret,
		     kiln_error *err)
{
	int64_t until = kiln__os_monotonic_ns() + (int64_t)timeout_ms * 1000000;

	while (!has_ended(child)) {
		struct pollfd readable = {.fd = child->event, .events = POLLIN};
		int64_t left = until - kiln__os_monotonic_ns();
		int n;

		if (left < 0)
			left = 0;
		/* Rounded up: not to wake before the time. */
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

void kiln__child_terminate(struct kiln__child *child)
{
	if (!child->ended)
		kiln__posix_child_signal(child, SIGTERM);
}

void kiln__child_kill(struct kiln__child *child)
{
	if (!child->ended)
		kiln__posix_child_signal(child, SIGKILL);
}

void kiln__child_free(struct kiln__child *child)
{
	if (!child)
		return;
	kiln__watch_free(child->watch);
	has_ended(child); /* one that has, unnoticed, is reaped and leaves no zombie */
	close(child->event);
	free(child);
}
