/* SPDX-License-Identifier: Apache-2.0 */
/* Two connected streams in memory. */
#ifndef KILN_BASE_PAIR_H
#define KILN_BASE_PAIR_H

#include "loop.h"
#include "stream.h"

/*
 * What is written to one is delivered by the other, from the loop. @chunk: the most
 * bytes of one delivery. @room: the most bytes that wait in one direction before
 * writes are short. A stream whose peer was closed delivers what was written before, then
 * the end of file, and its writes fail.
 */
int kiln__pair_new(struct kiln__stream *ret[2], kiln_loop *loop, size_t chunk, size_t room,
		   kiln_error *err);

#endif
