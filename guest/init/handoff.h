/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_HANDOFF_H
#define KILN_GUEST_HANDOFF_H

#include "agent.h"

/*
 * Makes the root's own init PID 1. On success this returns in a new process, which is
 * the agent from here on, a service like another.
 */
int hand_off(struct agent *agent, const char *init, kiln_error *err);

#endif
