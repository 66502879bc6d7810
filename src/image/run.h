/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program to its end and keeps what it printed. */
#ifndef KILN_IMAGE_RUN_H
#define KILN_IMAGE_RUN_H

#include <kiln/error.h>

#include "buf.h"
#include "os.h"

struct kiln__run {
	const char *path;
	const char *const *argv;          /* NULL-terminated, with argv[0] */
	const char *cwd;                  /* or NULL */
	const struct kiln__spawn_fd *fds; /* besides 1 and 2 */
	size_t fd_count;
	bool confined; /* reads a stranger's file: no rights, no network, no files but these (os.h)
			*/
	/* If not NULL: the program gets a pipe as descriptor @line_fd, and each line of it comes
	 * here. */
	void (*line)(void *data, const char *line);
	void *data;
	int line_fd;
};

/*
 * Blocks until the program has ended and its output is read; it is killed if this
 * process ends before, or if it takes two hours (KILN_ETIMEDOUT). What it printed beyond 1 MiB on
 * either stream is dropped. @ret_out and
 * @ret_err (initialised by the caller) get the rest. A program that fails is success here: see
 * @ret_exit.
 */
int kiln__run(const struct kiln__run *run, struct kiln__buf *ret_out, struct kiln__buf *ret_err,
	      struct kiln__exit *ret_exit, kiln_error *err);

#endif
