/* SPDX-License-Identifier: Apache-2.0 */
/* A stream that is cut after a chosen number of bytes. */
#ifndef TESTS_AGENT_CUTSTREAM_H
#define TESTS_AGENT_CUTSTREAM_H

#include "loop.h"
#include "stream.h"

#include <stdint.h>

struct cut {
	uint64_t in_max;  /* bytes delivered before the cut; UINT64_MAX: never cut */
	uint64_t out_max; /* bytes sent before the cut */
	uint64_t in;      /* counted */
	uint64_t out;
	bool happened;
};

/*
 * Wraps @inner, which it owns. When either count is reached the connection is closed
 * for the other side, and on_error told to this one, from the loop. @cut must outlive it.
 */
struct kiln__stream *cutstream_new(struct kiln__stream *inner, kiln_loop *loop, struct cut *cut);

#endif
