/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine that starts or is resumed has to be told first: the time, and something
 * unpredictable. */
#ifndef KILN_GUEST_CLOCK_H
#define KILN_GUEST_CLOCK_H

#include "record.h"

#include <kiln/error.h>

#include <stdint.h>

/* Sets the real-time clock to @realtime_ns; 0 leaves it. */
int apply_clock(uint64_t realtime_ns, kiln_error *err);

/* Feeds the kernel's generator and credits it; no bytes are fine. */
int apply_entropy(const struct kiln__bytes *seed, kiln_error *err);

#endif
