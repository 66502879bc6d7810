/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine is made of, for the files that change it (machine.c: its states; life.c, pause.c,
 * update.c: what is asked of it; waiting.c: who waits; instance.c) and facts.c, which tells of it.
 */
#ifndef KILN_MACHINE_INSTANCE_H
#define KILN_MACHINE_INSTANCE_H

#include "machine.h"

#include "loop.h"
#include "ready.h"

struct kiln__waiting; /* something that waits: waiting.c */

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
	bool vmm_started; /* start() was called on the instance */
	bool ending;      /* the host asked for the end */

	struct kiln__waiting *ops;   /* waiting, oldest first */
	struct kiln__waiting *queue; /* complete, not yet told */
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

/* --- machine.c: its states -------------------------------------------------------------- */

bool kiln__machine_has_ended(const kiln_machine *m); /* or has not begun */

/* False if its user has freed the machine because of it. */
bool kiln__machine_enter(kiln_machine *m, enum kiln_state to);

/* What its handles call. */
void kiln__machine_reap(void *m);
void kiln__machine_on_ready_timeout(void *m);
void kiln__machine_on_stop_timeout(void *m);
void kiln__machine_on_pause_timeout(void *m); /* pause.c */

/* --- waiting.c: operations -------------------------------------------------------------- */

/* What an operation waits for. */
enum kiln__waits {
	KILN__WAITS_START,
	KILN__WAITS_READY,
	KILN__WAITS_STOPPED,
	KILN__WAITS_STOP, /* as STOPPED, but any end is success: it was asked for */
	KILN__WAITS_PAUSE,
	KILN__WAITS_UPDATE,
	KILN__WAITS_NOTHING, /* complete: in the queue */
};

/*
 * A new operation, waiting. Without memory it cannot even be told so later: the
 * one case in which a completion comes from inside the call.
 */
struct kiln__waiting *kiln__waiting_new(kiln_machine *m, enum kiln__waits waits, kiln_done_fn done,
					void *data);
bool kiln__waiting_any(const kiln_machine *m, enum kiln__waits waits);

/* Completes all operations that wait for @waits; @err NULL: they have succeeded. */
void kiln__waiting_complete(kiln_machine *m, enum kiln__waits waits, const kiln_error *err);

/* Completes an operation that was just made; refuses it, because of the machine's state. */
void kiln__waiting_answer(kiln_machine *m, kiln_done_fn done, void *data, const kiln_error *err);
void kiln__waiting_refuse(kiln_machine *m, const char *what, kiln_done_fn done, void *data);

void kiln__waiting_tell(void *m); /* the queue: for the deferred call */

#endif
