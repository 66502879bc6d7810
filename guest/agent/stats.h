/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_STATS_H
#define KILN_GUEST_STATS_H

#include "agentmsg.h"

#include <kiln/error.h>

void collect_stats(struct kiln__agent_stats *ret);

/* The kernel's count of processes killed for want of memory. */
uint64_t count_oom_kills(void);

#endif
