/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_IMAGE_SANDBOX_H
#define KILN_IMAGE_SANDBOX_H

#include <kiln/error.h>

#include "jail.h"

#include <stdbool.h>
#include <stdint.h>

struct sandbox {
	const struct kiln__jail_place *places; /* all that can still be reached by name */
	size_t place_count;
	unsigned threads;
	uint64_t memory; /* bytes that may be written to, but for threads' stacks; 0: plenty */
	bool reads_all;  /* whatever the owner: a directory tree of the user's */
	bool network;
	const struct kiln__jail_filter *filter;
};

/*
 * Gives up, for good, all that this program does not need: new privileges, every file but what lies
 * beneath the places, and every system call that is not on the filter's list. Descriptors that are
 * open stay usable. Memory and CPU time are limited, for a process of so many threads.
 *
 * Landlock is applied as far as the kernel has it; without seccomp this fails (KILN_ENOTSUP).
 */
int sandbox_enter(const struct sandbox *sandbox, kiln_error *err);

#endif
