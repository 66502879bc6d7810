/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From "the VMM says it runs" to "the guest says it is ready": the agent's hello and
 * set-up, and the configured sign of readiness. Owned by a machine, on its loop.
 */
#ifndef KILN_MACHINE_READY_H
#define KILN_MACHINE_READY_H

#include <kiln/machine.h>

#include "agent.h"
#include "stream.h"

#include <stdbool.h>

struct kiln__ready;

struct kiln__ready_handler {
	void (*hello)(void *data, const struct kiln__agent_hello *hello);
	/* The agent has done its set-up: processes can be started. The VMM has said that the guest
	 * runs. */
	void (*agent_up)(void *data);
	void (*ready)(void *data);
	void (*failed)(void *data, const kiln_error *err);
	void (*panicked)(void *data, const char *text);
};

int kiln__ready_new(struct kiln__ready **ret, kiln_machine *machine,
		    const struct kiln__ready_handler *handler, void *data, kiln_error *err);
void kiln__ready_free(struct kiln__ready *ready); /* NULL is allowed */

/* The VMM says that the guest runs. */
void kiln__ready_begin(struct kiln__ready *ready);

/* The guest was paused and goes on: its clock is set. */
void kiln__ready_resumed(struct kiln__ready *ready);

/* Console bytes. */
void kiln__ready_console(struct kiln__ready *ready, const void *bytes, size_t len);

/*
 * A connection from the guest to the boot port, from its port @from (0: unknown): true if it
 * is the agent's, and is taken. Any other program's would come from 1024 or above.
 */
bool kiln__ready_incoming(struct kiln__ready *ready, uint32_t from, struct kiln__stream *stream);

/* Asks the agent to power off. KILN_ENOTSUP without an agent. */
int kiln__ready_power_off(struct kiln__ready *ready);

/* The agent's control channel, or NULL. */
struct kiln__agent *kiln__ready_agent(const struct kiln__ready *ready);

/* What is being waited for, for messages: "no word from the agent; last on the console: ...". Valid
 * until the next call. */
const char *kiln__ready_describe(struct kiln__ready *ready);

#endif
