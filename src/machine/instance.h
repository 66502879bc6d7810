/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine is made of: for machine.c, which changes it, and facts.c, which tells of it. */
#ifndef KILN_MACHINE_INSTANCE_H
#define KILN_MACHINE_INSTANCE_H

#include "machine.h"

#include "loop.h"
#include "ready.h"

struct op; /* something that waits: machine.c */

struct kiln_machine {
	kiln_loop *loop;
	struct kiln__spec *spec;
	kiln_machine_options options;
	char id[33];
	char name[64];
	const char *state_dir; /* or NULL */
	const struct kiln__backend *backend;
	struct kiln__instance *instance;
	struct kiln__ready *ready;

	enum kiln_state state;
	enum kiln_state before_pause;
	kiln_exit exit;
	kiln_exit main_exit; /* what the main process said, kept until the VM has ended */
	kiln_error failure;
	struct kiln__stages stages;
	char panic[160];   /* the guest's own words, if its kernel panicked */
	char *runtime_dir; /* or NULL */
	kiln__leaving_fn *leaving;
	void *leaving_data;
	bool vmm_started;  /* start() was called on the instance */
	bool ending;       /* the host asked for the end */

	struct op *ops;   /* waiting, oldest first */
	struct op *queue; /* complete, not yet told */
	struct kiln__deferred *teller;
	struct kiln__timer *ready_timer;
	struct kiln__timer *stop_timer;
	struct kiln__timer *pause_timer; /* of a pause or resume that the VMM was asked for */
	struct kiln__deferred *reaper;   /* frees an ended instance outside its own callback */
	bool *freed;                     /* set when the machine is freed from a callback */

	bool (*incoming)(void *data, uint32_t port, struct kiln__stream *stream);
	void *incoming_data;
	void (*agent_up)(void *data);
	void *agent_up_data;
	void (*rebooted)(void *data);
	void *rebooted_data;
};

#endif
