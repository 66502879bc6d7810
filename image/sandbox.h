/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_IMAGE_SANDBOX_H
#define KILN_IMAGE_SANDBOX_H

#include <kiln/error.h>

#include "fd.h"

/*
 * Gives up, for good, all that this program does not need: new privileges, every file but what lies
 * beneath @read_dir (to read) and @write_dir (to make files in), either of which may be
 * KILN_FD_NONE, and every system call that is not on the list in sandbox.c. Descriptors that are
 * open stay usable. Memory and CPU time are limited, for a process of @threads threads.
 *
 * Landlock is applied as far as the kernel has it; without seccomp this fails (KILN_ENOTSUP).
 */
int sandbox_enter(kiln_fd read_dir, kiln_fd write_dir, unsigned threads, kiln_error *err);

#endif
