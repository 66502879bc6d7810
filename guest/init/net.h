/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_NET_H
#define KILN_GUEST_NET_H

#include "agentmsg.h"

#include <kiln/error.h>

/* Brings the loopback interface up. */
int net_loopback(kiln_error *err);

/* Gives an interface its addresses and gateways and brings it up. */
int net_interface(const struct kiln__agent_interface *interface, kiln_error *err);

#endif
