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
	char *const
		*dir; /* where it lies: looked at anew for each opening, for the jail moves it */
	const char *name; /* NULL: none */
	kiln_fd fd;
	uint64_t size;
	uint64_t limit; /* of both files together */
};

/* The file is begun or continued when there is something to write. Before init, and after done,
 * writes do nothing. */
void logfile_init(struct logfile *log, char *const *dir, const char *name, uint64_t limit);
void logfile_write(struct logfile *log, const void *bytes, size_t len);

/* One record of the process log (logfmt.h): head, bytes and a newline, never split by a rotation.
 */
void logfile_write_record(struct logfile *log, const char *head, const void *bytes, size_t len);
void logfile_done(struct logfile *log);

#endif
