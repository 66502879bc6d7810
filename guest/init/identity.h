/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_IDENTITY_H
#define KILN_GUEST_IDENTITY_H

#include "agentmsg.h"

#include <kiln/error.h>

/* Host name, machine id and resolver, in the kernel and in the root's /etc. */
int apply_identity(const struct kiln__agent_setup *setup, kiln_error *err);

#endif
