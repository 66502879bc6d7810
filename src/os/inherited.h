/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For a command: descriptors whose open files it shares with whoever started it, so that it must
 * leave their modes as they are, and signals. On Linux and macOS.
 */
#ifndef KILN_OS_INHERITED_H
#define KILN_OS_INHERITED_H

#include <kiln/error.h>

#include "fd.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * A descriptor that is readable whenever @fd can be read from, or, with @writing, written to. (The
 * loop would make @fd itself non-blocking.) KILN_ENOTSUP: @fd is always ready, as files are.
 */
int kiln__os_readiness(kiln_fd *ret, kiln_fd fd, bool writing, kiln_error *err);

/* The same pipe or terminal by an open file of our own, for writing without waiting; or
 * KILN_FD_NONE where that cannot be. */
kiln_fd kiln__os_reopen_to_write(kiln_fd fd);

/* Sends on a socket what can be sent without waiting, and no SIGPIPE: a count or a negative errno.
 */
ssize_t kiln__os_send_now(kiln_fd socket, const void *bytes, size_t len);

/*
 * A descriptor that is readable when one of these signals has come. The caller blocks them, and
 * takes out those that are ignored.
 */
int kiln__os_signal_events(kiln_fd *ret, const int *numbers, size_t count, kiln_error *err);

/* The number of one that has come, which is not pending any more then; 0 if there is none. */
int kiln__os_next_signal(kiln_fd events);

#endif
