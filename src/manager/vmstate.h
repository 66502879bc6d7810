/* SPDX-License-Identifier: Apache-2.0 */
/* state.json: what a runner, or whoever found its runner dead, has written of a VM. */
#ifndef KILN_MANAGER_VMSTATE_H
#define KILN_MANAGER_VMSTATE_H

#include <kiln/machine.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct kiln__vmstate {
	enum kiln_state state;
	kiln_exit exit;
	kiln_error failure;
	char backend[32];
	char accel[32];
	char accel_reason[256];
	int64_t pid;     /* of the runner */
	int64_t vmm_pid; /* of the VMM, if that is a process of its own; else 0 */
	int64_t started_ns;
	int64_t ready_ns;
	int64_t finished_ns;
};

/*
 * Reads a state as far as it is one: @object may be NULL or anything. What is missing
 * is as in a VM that was never started.
 */
void kiln__vmstate_parse(const json_t *object, struct kiln__vmstate *ret);

/* True of starting, running, ready, paused and stopping: somebody must be there. */
bool kiln__vmstate_is_alive(enum kiln_state state);

/* Turns the state @object into "failed, because of @why, at @finished_ns". KILN_ENOMEM. */
int kiln__vmstate_set_failed(json_t *object, const kiln_error *why, int64_t finished_ns,
			     kiln_error *err);

/* The event that goes with it, as a line of the events file. Malloc'ed; NULL when out of memory. */
char *kiln__vmstate_failed_event(const char *from, const kiln_error *why, int64_t time_ns);

#endif
