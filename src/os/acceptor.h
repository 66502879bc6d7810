/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the connections that come to a local socket, as long as its user has room for
 * them. When descriptors or memory run out, those that wait go on waiting and are looked
 * at again after a while: a loop that was told of them at once would be told for ever.
 */
#ifndef KILN_OS_ACCEPTOR_H
#define KILN_OS_ACCEPTOR_H

#include "loop.h"

#include <stdbool.h>

struct kiln__acceptor;

/*
 * Calls @take from the loop for each connection to @listener, which it owns from here on
 * (also on failure); the connection is @take's. Taking begins with kiln__acceptor_set().
 */
int kiln__acceptor_new(struct kiln__acceptor **ret, kiln_loop *loop, kiln_fd listener,
		       void (*take)(void *data, kiln_fd fd), void *data, kiln_error *err);

/* Whether connections are taken, or wait; also from inside @take. */
void kiln__acceptor_set(struct kiln__acceptor *acceptor, bool takes);

/* Closes the listener. Not from inside @take. NULL is allowed. */
void kiln__acceptor_free(struct kiln__acceptor *acceptor);

#endif
