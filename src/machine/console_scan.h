/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a guest's console, line by line, for what it says about itself: that it is
 * ready (a line KILN_READY, or VMRS_READY and an address), that its kernel panicked and why,
 * and kiln-guest's own last words. The console is the guest's: lines are bounded, and
 * what is kept of them is printable.
 */
#ifndef KILN_MACHINE_CONSOLE_SCAN_H
#define KILN_MACHINE_CONSOLE_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define KILN__CONSOLE_LINE 256

struct kiln__console_scan {
	char line[KILN__CONSOLE_LINE]; /* the line being read; the excess of a long one is dropped
					*/
	size_t len;
	bool ready;
	char address[64];              /* what stood behind VMRS_READY */
	char panic[160];               /* the kernel's or the agent's reason */
	char last[KILN__CONSOLE_LINE]; /* the last line that was not empty */
};

/* Takes bytes. Returns true if "ready" or "panic" changed. */
bool kiln__console_scan(struct kiln__console_scan *scan, const void *bytes, size_t len);

#endif
