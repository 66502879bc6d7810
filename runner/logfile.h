/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a guest can make grow: bounded. When FILE reaches half of the limit it
 * becomes FILE.1, replacing the one before, so that at least the last half and at most
 * the whole limit is kept. A disk that is full loses log text, never the VM. A file that
 * nothing is written to is not made.
 */
#ifndef KILN_RUNNER_LOGFILE_H
#define KILN_RUNNER_LOGFILE_H

#include "fd.h"

#include <kiln/error.h>

#include <stddef.h>
#include <stdint.h>

struct logfile {
	char *path;
	char *old_path;
	kiln_fd fd;
	uint64_t size;
	uint64_t limit; /* of both files together */
};

/* @path is begun or continued when there is something to write. Until then, and after done, writes
 * do nothing. */
int logfile_init(struct logfile *log, const char *path, uint64_t limit, kiln_error *err);
void logfile_write(struct logfile *log, const void *bytes, size_t len);

/* One record of the process log (logfmt.h): head, bytes and a newline, never split by a rotation.
 */
void logfile_write_record(struct logfile *log, const char *head, const void *bytes, size_t len);
void logfile_done(struct logfile *log);

#endif
