/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OS_FDSTREAM_H
#define KILN_OS_FDSTREAM_H

#include "fd.h"
#include "loop.h"
#include "stream.h"

/*
 * A stream over a connected socket (or, on POSIX, a pipe or terminal), which is
 * made non-blocking and owned by the stream from here on; on failure it stays the caller's.
 */
int kiln__fdstream_new(struct kiln__stream **ret, kiln_loop *loop, kiln_fd fd, kiln_error *err);

#endif
