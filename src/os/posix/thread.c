/* SPDX-License-Identifier: Apache-2.0 */
#include "thread.h"

#include "err.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct start {
	void (*fn)(void *data);
	void *data;
};

static void *thread_main(void *data)
{
	struct start start = *(struct start *)data;

	free(data);
	start.fn(start.data);
	return NULL;
}

int kiln__thread_start(void (*fn)(void *data), void *data, kiln_error *err)
{
	struct start *start = malloc(sizeof(*start));
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all;
	sigset_t mask;
	int code;

	if (!start)
		return kiln__fail_nomem(err);
	*start = (struct start){fn, data};
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	code = pthread_create(&thread, &attr, thread_main, start);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_attr_destroy(&attr);
	if (code == 0)
		return 0;
	free(start);
	return kiln__fail_errno(err, code, "cannot make a thread");
}
