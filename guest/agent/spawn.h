/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a process. */
#ifndef KILN_GUEST_SPAWN_H
#define KILN_GUEST_SPAWN_H

#include "agentmsg.h"

#include <kiln/error.h>

/* This side's ends, non-blocking and close-on-exec; -1 where there is none. */
struct spawned {
	int pid;
	int input;
	int output[2]; /* stdout and stderr; a terminal has only the first */
};

/*
 * Starts the process. On failure there is none, and @err says what went wrong:
 * KILN_ENOCMD if there is no such command, KILN_ENOEXEC if it cannot be executed,
 * stage "user", "cwd", "tty", "exec" or "fork".
 */
int spawn(const struct kiln__agent_start *start, struct spawned *ret, kiln_error *err);

/* Makes the kernel spare this process, but not those that it starts, when memory runs out. */
void protect_from_oom(void);

/* Sets a terminal's size by its master. */
void set_window_size(int master, uint32_t rows, uint32_t cols);

#endif
