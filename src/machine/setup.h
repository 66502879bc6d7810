/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine's configuration becomes for the guest's agent: the SETUP request. All that is
 * particular to one VM reaches the guest this way, never by the initramfs or the kernel's
 * command line.
 */
#ifndef KILN_MACHINE_SETUP_H
#define KILN_MACHINE_SETUP_H

#include "agent.h"
#include "machine.h"

int kiln__setup_send(struct kiln__agent *agent, const kiln_machine *machine,
		     const struct kiln__agent_hello *hello, kiln__agent_reply_fn reply, void *data,
		     kiln_error *err);

/* Sets the guest's clock to the host's. Best effort. */
void kiln__setup_clock(struct kiln__agent *agent);

#endif
