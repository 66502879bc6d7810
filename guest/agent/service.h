/* SPDX-License-Identifier: Apache-2.0 */
/* The agent where something else is PID 1. */
#ifndef KILN_GUEST_SERVICE_H
#define KILN_GUEST_SERVICE_H

#include "agent.h"

extern const struct agent_ops service_ops;

/* Signals as a service gets them: SIGTERM and SIGINT end it. */
void service_signal(struct agent *agent, uint32_t signal);

/* "kiln-guest agent [--listen-unix PATH] [--fd N]": returns the exit code. */
int service_main(int argc, char **argv);

#endif
