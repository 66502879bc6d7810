/* SPDX-License-Identifier: Apache-2.0 */
/* Runs something in a process of its own and kills that at a chosen system call. */
#ifndef TESTS_LIB_KILLER_H
#define TESTS_LIB_KILLER_H

#include <stdbool.h>

enum killed {
	KILLED,       /* it was killed at that moment */
	ENDED_BEFORE, /* it had fewer system calls; *ret_status is its exit code */
	NO_PTRACE,    /* not possible here */
};

/*
 * Runs @fn(@data) in a child, and kills it, by SIGKILL, when it enters or leaves a
 * system call for the @moment-th time, counted from 0 at the first call of @fn.
 * Processes that the child makes are not followed. The child exits with what @fn returns.
 */
enum killed kill_at(unsigned moment, int (*fn)(void *data), void *data, int *ret_status);

#endif
