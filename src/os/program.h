/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_PROGRAM_H
#define KILN_OS_PROGRAM_H

#include <kiln/error.h>

/*
 * Runs a program and gives back the first 64 KiB of its stdout and stderr, malloc'ed.
 * Blocks for @timeout_ms at most, then kills it (KILN_ETIMEDOUT). KILN_EDIED if it does
 * not exit with 0; the output is given then too if @ret is not NULL, and owned by the caller.
 */
int kiln__os_run_capture(const char *path, const char *const *argv, int timeout_ms, char **ret,
			 kiln_error *err);

#endif
