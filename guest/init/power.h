/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_POWER_H
#define KILN_GUEST_POWER_H

#include "agent.h"

/*
 * Brings the machine down in order: the main process gets its stop signal and time to
 * end, then whatever runs gets SIGTERM, then SIGKILL; the file systems are unmounted,
 * and it powers off or restarts. Each step is bounded in time. Returns at once.
 */
int power_shutdown(struct agent *agent, const struct kiln__agent_shutdown *how,
		   enum kiln__agent_cause cause, kiln_error *err);

/* This VMM has no power-off: end by a reset. */
void power_end_by_reset(void);

/* Answers the power button, where the machine has one. */
void power_watch_button(struct agent *agent);
void power_forget_button(struct agent *agent);

/* Signals as PID 1 gets them: from the kernel for Ctrl-Alt-Del, from poweroff and reboot commands.
 */
void power_signal(struct agent *agent, uint32_t signal);

/* Ends the machine here and now. */
_Noreturn void power_end(bool restart);

#endif
