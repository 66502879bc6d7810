/* SPDX-License-Identifier: Apache-2.0 */
/* The runner's filter of system calls on systems that have none. */
#include "jail.h"

extern const struct kiln__jail_filter runner_filter;
const struct kiln__jail_filter runner_filter = {.count = 0};
