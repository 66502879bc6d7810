/* SPDX-License-Identifier: Apache-2.0 */
/* A child, and what os/posix/child.c asks of the system's own folder for it. */
#ifndef KILN_OS_POSIX_CHILD_H
#define KILN_OS_POSIX_CHILD_H

#include "os.h"

#include <sys/types.h>

struct kiln__child {
	pid_t pid;
	int event; /* a descriptor that is readable, for good, once the child has ended */
	int kept;  /* Linux: the number by which it can be signalled once we are confined, or 0 */
	pid_t keeper; /* the system's own business; 0 if it has none */
	bool detached;
	bool offline; /* has no network */
	bool ended;
	struct kiln__exit how; /* once ended */
	struct kiln__watch *watch;
	void (*fn)(void *data, struct kiln__exit how);
	void *data;
};

/* Starts the program and sets pid, event and keeper. @top is the highest number in the child. */
int kiln__posix_child_start(struct kiln__child *child, const struct kiln__spawn *spawn, int top,
			    kiln_error *err);

/* If the child has ended: reaps it, sets *how and returns true. Does not wait. */
bool kiln__posix_child_reap(struct kiln__child *child, struct kiln__exit *how);

/* Sends a signal to a child not known to have ended. */
void kiln__posix_child_signal(const struct kiln__child *child, int signal);

#endif
