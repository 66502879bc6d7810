/* SPDX-License-Identifier: Apache-2.0 */
/* What the followers of logs and of events have in common. */
#ifndef KILN_MANAGER_FOLLOW_H
#define KILN_MANAGER_FOLLOW_H

#include "manager.h"

/* The first member of a follower. */
struct kiln_follower {
	void (*free)(kiln_follower *follower);
};

/* Bytes read from a file in one turn of the loop, so that others have theirs. */
#define KILN__FOLLOW_TURN ((size_t)256 * 1024)

#endif
