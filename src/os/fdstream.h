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

/*
 * The same over a socket, which costs no system call until kiln__fdstream_watch(): what is written
 * goes out, but nothing is read and nothing told. For who has a first message to deal with, and
 * little time.
 */
int kiln__fdstream_new_unwatched(struct kiln__stream **ret, kiln_loop *loop, kiln_fd fd,
				 kiln_error *err);

/* Waits for the first bytes and delivers them, as far as the handler wants them. */
void kiln__fdstream_read_first(struct kiln__stream *stream);

/* From here on it is as any other. Once. On failure it tells of an error, as of a connection lost.
 */
void kiln__fdstream_watch(struct kiln__stream *stream);

#endif
