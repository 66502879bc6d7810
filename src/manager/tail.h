/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a file that grows, and that its writer may rename to FILE.1 and begin anew,
 * replacing the FILE.1 before it: from the oldest byte kept, each byte once.
 */
#ifndef KILN_MANAGER_TAIL_H
#define KILN_MANAGER_TAIL_H

#include <kiln/error.h>

#include "fd.h"
#include "os.h"

#include <stdbool.h>
#include <stddef.h>

struct kiln__tail {
	char *path;
	char *old_path;
	kiln_fd fd;
	struct kiln__os_stat file; /* which file fd is */
	bool begins;               /* nothing of it has been read yet */
};

/* Nothing is opened yet, and need not be there. */
int kiln__tail_init(struct kiln__tail *tail, const char *path, kiln_error *err);
void kiln__tail_done(struct kiln__tail *tail);

/*
 * Gives @fn what there is to read, in pieces, but not much more than @most bytes. @begins
 * says that the piece is a file's first. A negative return value of @fn ends the reading
 * and is returned. Else 1 if there may be more, 0 if that was all for now.
 */
int kiln__tail_read(struct kiln__tail *tail, size_t most,
		    int (*fn)(void *data, const void *bytes, size_t len, bool begins), void *data,
		    kiln_error *err);

#endif
