/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins two streams: what arrives at one is written to the other, both ways, with
 * back-pressure (nothing is buffered here) and half close.
 */
#ifndef KILN_BASE_SPLICE_H
#define KILN_BASE_SPLICE_H

#include "stream.h"

struct kiln__splice;

/*
 * Joins @a and @b, which are owned from here on (on failure they stay the caller's).
 * @on_end is called once, when nothing flows any more: @err is NULL if both directions
 * ended in order, else what broke the first of them. It may be called from inside
 * this function, after *ret has been set, and is where to call kiln__splice_free().
 *
 * A direction whose writing side breaks goes on being read and dropped, so that the other
 * direction is not cut off: a peer that only stopped listening may still be sending.
 */
int kiln__splice_new(struct kiln__splice **ret, struct kiln__stream *a, struct kiln__stream *b,
		     void (*on_end)(void *data, const kiln_error *err), void *data,
		     kiln_error *err);

/* Closes both streams, whatever still flows; on_end is not called any more. From anywhere. NULL is
 * allowed. */
void kiln__splice_free(struct kiln__splice *splice);

#endif
