/* SPDX-License-Identifier: Apache-2.0 */
/* States and exits as words: apart from the machine, since managers use them without one. */
#include <kiln/machine.h>

static const char *const state_names[] = {
	[KILN_STATE_CREATED] = "created", [KILN_STATE_STARTING] = "starting",
	[KILN_STATE_RUNNING] = "running", [KILN_STATE_READY] = "ready",
	[KILN_STATE_PAUSED] = "paused",   [KILN_STATE_STOPPING] = "stopping",
	[KILN_STATE_STOPPED] = "stopped", [KILN_STATE_FAILED] = "failed",
};

static const char *const exit_names[] = {
	[KILN_EXIT_NONE] = "none",         [KILN_EXIT_EXITED] = "exited",
	[KILN_EXIT_SIGNALED] = "signaled", [KILN_EXIT_POWEROFF] = "poweroff",
	[KILN_EXIT_RESET] = "reset",       [KILN_EXIT_KILLED] = "killed",
};

const char *kiln_state_name(enum kiln_state state)
{
	return (unsigned)state <= KILN_STATE_FAILED ? state_names[state] : "unknown";
}

const char *kiln_exit_kind_name(enum kiln_exit_kind kind)
{
	return (unsigned)kind <= KILN_EXIT_KILLED ? exit_names[kind] : "unknown";
}

int kiln_exit_status(kiln_exit how)
{
	switch (how.kind) {
	case KILN_EXIT_EXITED:
		return how.code & 0xff;
	case KILN_EXIT_SIGNALED:
		return 128 + (how.code & 0x7f);
	case KILN_EXIT_KILLED:
		return 128 + 9; /* Linux's SIGKILL, on any host */
	case KILN_EXIT_POWEROFF:
	case KILN_EXIT_RESET:
		return 0;
	default:
		return 125;
	}
}
