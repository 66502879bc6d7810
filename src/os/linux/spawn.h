/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_LINUX_SPAWN_H
#define KILN_OS_LINUX_SPAWN_H

#include "os.h"

/* Starts the program; yields its pid and a pidfd, both the caller's. As kiln__child_spawn(). */
int kiln__linux_spawn(const struct kiln__spawn *spawn, pid_t *ret_pid, int *ret_pidfd,
		      kiln_error *err);

#endif
