/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that the user names for what a command makes. A regular one comes whole or not at all: it
 * is written aside, and what was there before stays until then. What is none (/dev/stdout, a pipe,
 * a device) is written to as it is, and never removed.
 */
#ifndef KILN_CLI_OUTFILE_H
#define KILN_CLI_OUTFILE_H

#include <kiln/error.h>

#include "os.h"

struct outfile {
	kiln_fd fd;
	char *path;
	char *aside; /* NULL: it is written as it is */
};

int outfile_open(struct outfile *file, const char *path, kiln_error *err);

/* Ends it: with what was written, or as if nothing had been. */
int outfile_keep(struct outfile *file, kiln_error *err);
void outfile_drop(struct outfile *file);

#endif
