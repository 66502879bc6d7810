/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of a kiln VM.
 *
 * Boot: load the vsock modules and connect to the host, which is the host's sign that
 * the kernel is up; then, while the host answers, load the other modules and mount what
 * needs no configuration. The host's SETUP says the rest: root, identity, network,
 * mounts. Nothing particular to one VM is in the initramfs or on the command line, and
 * nothing waits by the clock: each step follows the one before, a missing device is
 * waited for by its event.
 *
 * A boot that cannot even reach the host says "kiln-guest: fatal: ..." on the console and
 * powers off; later failures are the answer to SETUP, and the host decides.
 */
#ifndef KILN_GUEST_INIT_H
#define KILN_GUEST_INIT_H

#include "agent.h"

/* Never returns as PID 1 of a kiln VM. */
int init_main(void);

/* Says why on the console and powers off. */
_Noreturn void fatal(const char *fmt, ...) KILN_PRINTF(1, 2);

#endif
