/* SPDX-License-Identifier: Apache-2.0 */
#include "mempair.h"

#include "pair.h"

#include <stdlib.h>

int mempair_new(struct kiln__stream *ret[2], kiln_loop *loop, size_t chunk, size_t room)
{
	if (kiln__pair_new(ret, loop, chunk, room, NULL) < 0)
		abort();
	return 0;
}
