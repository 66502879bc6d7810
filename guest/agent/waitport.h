/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_WAITPORT_H
#define KILN_GUEST_WAITPORT_H

#include "agent.h"

/*
 * Answers the request @tag of @conn with OK as soon as something listens on the port,
 * now or later. A connection that ends takes its waits with it.
 */
int wait_port(struct agent *agent, struct conn *conn, uint16_t tag,
	      const struct kiln__agent_wait_port *what, kiln_error *err);

void wait_port_forget(struct agent *agent, const struct conn *conn);

#endif
