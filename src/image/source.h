/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is cheap to know of an input, so that what was made of it is found again
 * without reading it.
 *
 * A file is known by device, inode, size, modification and change time. The
 * change time is the kernel's own: whatever alters a file's bytes, mode or owner sets it,
 * and no program can set it back. A directory tree is known by the same of
 * every entry below it, with its name, as an index of git does it: nothing less
 * is right, because writing into a file changes no directory. That costs one
 * system call or two an entry, 2.3 microseconds of CPU (17 ms for a Debian root of 7,200); a tar
 * archive or a squashfs image of the same tree costs one call in all.
 *
 * What this cannot see: stores through a shared writable mapping after the first one that the
 * kernel noticed, as with make(1) and git(1), and file systems that keep whole seconds only.
 */
#ifndef KILN_IMAGE_SOURCE_H
#define KILN_IMAGE_SOURCE_H

#include <kiln/error.h>

#include "digest.h"
#include "fd.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__source_id {
	char hex[KILN__DIGEST_HEX];
	/*
	 * False if the input changed within the clock tick (4 to 10 ms) in which it was
	 * looked at: a further change in that tick would not show, so nothing may be recorded under
	 * this id.
	 */
	bool settled;
};

/*
 * Of a path that leads to a file. KILN_ENOENT ... naming it; KILN_EINVAL if it is no regular file
 * or block device.
 */
int kiln__source_file(const char *path, struct kiln__source_id *ret, kiln_error *err);

/* Of an open file. @name is what messages call it. */
int kiln__source_fd(kiln_fd fd, const char *name, struct kiln__source_id *ret, kiln_error *err);

/*
 * Of all that is below a directory. Other file systems mounted in it are not
 * entered: their mount points count as empty directories, here and in the image.
 * Goes on until the tree has not changed within the last tick of the clock, so @ret is settled.
 */
int kiln__source_tree(kiln_fd dir, const char *name, struct kiln__source_id *ret, kiln_error *err);

#endif
