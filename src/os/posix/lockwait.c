/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a lock to be given up. No descriptor becomes readable then, so a thread
 * waits in the kernel for the lock: one of the process's own kind, since waiting for
 * that is what pthread_cancel() can end with every C library. Having got it, it lets go.
 */
#include "os.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define STACK_SIZE ((size_t)64 * 1024)

struct kiln__lockwait {
	int fd;
	unsigned part;
	pthread_t thread;
	struct kiln__waker *waker;
	void (*fn)(void *data);
	void *data;
};

static void *wait_for_lock(void *data)
{
	struct kiln__lockwait *wait = data;
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)wait->part,
		.l_len = 1,
	};

	while (fcntl(wait->fd, F_SETLKW, &lock) < 0 && errno == EINTR)
		;
	lock.l_type = F_UNLCK;
	fcntl(wait->fd, F_SETLK, &lock);
	kiln__waker_wake(wait->waker);
	return NULL;
}

static int start_thread(struct kiln__lockwait *wait, kiln_error *err)
{
	pthread_attr_t attr;
	sigset_t all;
	sigset_t mask;
	int code;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	code = pthread_create(&wait->thread, &attr, wait_for_lock, wait);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_attr_destroy(&attr);
	return code ? kiln__fail_errno(err, code, "cannot make a thread") : 0;
}

static void on_wake(void *data)
{
	struct kiln__lockwait *wait = data;

	wait->fn(wait->data);
}

int kiln__lockwait_new(struct kiln__lockwait **ret, kiln_loop *loop, const char *path,
		       unsigned part, void (*fn)(void *data), void *data, kiln_error *err)
{
	struct kiln__lockwait *wait = calloc(1, sizeof(*wait));
	int r;

	if (!wait)
		return kiln__fail_nomem(err);
	*wait = (struct kiln__lockwait){.fd = KILN_FD_NONE, .part = part, .fn = fn, .data = data};
	r = kiln__os_open(&wait->fd, path, KILN__OPEN_WRITE, err);
	if (r == 0)
		r = kiln__waker_new(&wait->waker, loop, on_wake, wait, err);
	if (r == 0)
		r = start_thread(wait, err);
	if (r < 0) {
		kiln__waker_free(wait->waker);
		kiln__os_close(wait->fd);
		free(wait);
		return r;
	}
	*ret = wait;
	return 0;
}

void kiln__lockwait_free(struct kiln__lockwait *wait)
{
	if (!wait)
		return;
	pthread_cancel(wait->thread);
	pthread_join(wait->thread, NULL);
	kiln__waker_free(wait->waker);
	kiln__os_close(wait->fd);
	free(wait);
}
