/* SPDX-License-Identifier: Apache-2.0 */
/* Two connected streams in memory, which deliver from the loop in pieces of a chosen size. */
#ifndef TESTS_LIB_MEMPAIR_H
#define TESTS_LIB_MEMPAIR_H

#include "loop.h"
#include "stream.h"

/*
 * @chunk: the most bytes of one delivery. @room: the most bytes that wait in one
 * direction before writes are short. A stream whose peer was closed reports the
 * end of file, and its writes fail.
 */
int mempair_new(struct kiln__stream *ret[2], kiln_loop *loop, size_t chunk, size_t room);

#endif
