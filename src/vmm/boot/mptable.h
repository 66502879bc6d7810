/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of Intel's MultiProcessor Specification that names nothing. Processors are in the MADT;
 * but before a kernel reads that, Linux looks for this table, in three places and at every
 * sixteenth byte, with a page mapped and unmapped for each: four thousand times, where there is
 * none. So one lies at the first place.
 */
#ifndef KILN_VMM_BOOT_MPTABLE_H
#define KILN_VMM_BOOT_MPTABLE_H

#include "ram.h"

void kiln__mptable_write(struct kiln__ram *ram);

#endif
