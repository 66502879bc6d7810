/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager from inside.
 *
 *   manager.c  the manager and its VM handles    op.c         what operations have in common
 *   vm.c       operations on a VM                start.c      bringing a runner up
 *   end.c      seeing one go                     rawstream.c  connections that become streams
 *   session.c  exec and attach                   logs.c, events.c, tail.c   following files
 *   sync.c     blocking twins                    home.c, vmdir*.c, vmstate.c what lies on disk
 *
 * Everything runs on the manager's loop. A VM has at most one handle in a manager,
 * counted. What a user asks of it is an operation (struct kiln__op): a small
 * state machine that ends in kiln__op_finish(), exactly once, and is told to the user
 * from the loop. Operations ask the VM's runner over one shared control
 * connection; streams have a connection each.
 *
 * Nothing here believes a runner: answers are parsed as hostile, and whether it is alive
 * is asked of the lock (vmdir.h).
 */
#ifndef KILN_MANAGER_MANAGER_H
#define KILN_MANAGER_MANAGER_H

#include <kiln/manager.h>

#include "control.h"
#include "home.h"
#include "loop.h"
#include "os.h"
#include "vmdir.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct kiln_manager {
	kiln_loop *loop;
	bool owns_loop;
	struct kiln__home home;
	char *runner; /* as given by the user; NULL: to be found */
	kiln_vm *vms; /* handles */
};

struct kiln__op;

/* What an operation does at each turn. All end in kiln__op_finish(), now or later. */
struct kiln__op_kind {
	const char *method; /* of the control protocol; NULL: it asks nothing */

	/* Its request's answer. NULL for those that want a stream. */
	void (*answered)(struct kiln__op *op, json_t *result);

	/* The VM is not alive, or was not any more: @state says how it stands. */
	void (*not_alive)(struct kiln__op *op, const struct kiln__vmstate *state);
};

enum kiln__op_phase {
	KILN__OP_NEW,
	KILN__OP_WAITS_START, /* for a start that this handle has under way */
	KILN__OP_WAITS_ROOM,  /* to be connected */
	KILN__OP_ASKED,       /* for its answer */
	KILN__OP_WAITS_END,   /* for the runner's end */
	KILN__OP_OVER,        /* to be told */
};

struct kiln__op {
	struct kiln__op *next;
	kiln_vm *vm;
	const struct kiln__op_kind *kind;
	enum kiln__op_phase phase;
	json_t *params; /* of its request */
	uint64_t number;
	bool unreached;               /* there is a runner, but it did not listen */
	bool asked;                   /* a runner, ever */
	bool answered;                /* what is still waited for is the runner's end */
	struct kiln__timer *patience; /* with a runner that has cut the connection */
	struct kiln__timer *again;    /* it is asked again, the runner having had no room */
	unsigned busy_tries;

	/* Who is told: one of these. */
	kiln_done_fn done;
	kiln_json_fn json;
	kiln_stream_fn public_stream;
	void (*stream)(void *data, struct kiln__stream *stream, const kiln_error *err);
	void *data;

	/* For a stream: a connection of its own, or the launch connection. */
	struct kiln__control *own;
	bool lifeline;

	/* What some of them carry. */
	enum kiln_state until;
	bool force;
	kiln_start_options start;

	/* What is to be told. */
	kiln_error err;
	bool failed;
	char *text;
	struct kiln__stream *got;
};

struct kiln_vm {
	kiln_vm *next;
	kiln_manager *manager;
	unsigned refs;
	unsigned held; /* callbacks on the stack; freeing waits for them */
	struct kiln__vmdir *dir;
	/* What this handle has just written there, which its first start need not read; or NULL. */
	kiln_config *made;
	char *made_text;
	struct kiln__op *ops; /* in the order they were begun */
	struct kiln__deferred *teller;

	struct kiln__control *control;  /* shared by operations; NULL: none now */
	struct kiln__control *lifeline; /* foreground: the launch connection */
	bool foreground;                /* started there by this handle */
	struct kiln__start *start;      /* under way */
	struct kiln__end *end;          /* of the runner: being watched for */

	char backend[32]; /* what kiln_vm_status() hands out */
	char accel[32];
	char accel_reason[256];
};

/* --- operations (op.c) ---------------------------------------------------------------- */

/* A new operation of @vm. NULL when out of memory: then nobody will be told. */
struct kiln__op *kiln__op_new(kiln_vm *vm, const struct kiln__op_kind *kind, void *data);

/* Sends its request, having connected if need be, or finds that nobody is there to ask. */
void kiln__op_ask(struct kiln__op *op);

/* Waits until there is no runner (any more); then the kind's not_alive. */
void kiln__op_await_end(struct kiln__op *op);

/* It is over: with @err NULL, well. The user is told from the loop. */
void kiln__op_finish(struct kiln__op *op, const kiln_error *err);
void kiln__op_fail(struct kiln__op *op, int code, const char *fmt, ...) KILN_PRINTF(3, 4);

/* Takes it back: nobody is told. For operations whose user has gone. */
void kiln__op_drop(struct kiln__op *op);

/* A start is over, well or badly: those that waited for it go on. */
void kiln__ops_go_on(kiln_vm *vm);

/* There is no runner any more: those that waited for that go on. */
void kiln__ops_runner_gone(kiln_vm *vm);

/* Those that did not reach the runner, which may listen by now, try again. */
void kiln__ops_reach_again(kiln_vm *vm);

/* Completes all with KILN_ECANCELED, at once. */
void kiln__ops_cancel(kiln_vm *vm);

/* The deferred call that tells users; its data is the VM. */
void kiln__ops_tell(void *data);

/* "the VM is stopped", or why it failed, as an error for who needed it alive. */
void kiln__not_alive_error(const struct kiln__vmstate *state, kiln_error *ret);

/* For kinds that need the VM alive. */
void kiln__fail_not_alive(struct kiln__op *op, const struct kiln__vmstate *state);

/* The connection that operations share: handler, with the VM as its data. */
extern const struct kiln__control_handler kiln__vm_control_handler;

/* kiln_vm_wait() for the end as an operation that can be dropped. NULL when out of memory. */
struct kiln__op *kiln__vm_wait_end(kiln_vm *vm, kiln_done_fn done, void *data);

/* --- starting (start.c) ------------------------------------------------------------------- */

/* Brings a runner up for @op, a start or a restart, which it finishes. */
void kiln__vm_start_for(struct kiln__op *op);
void kiln__start_abandon(struct kiln__start *start); /* NULL is allowed */

/* "the VM is running already", and what to do. Returns @ret. */
const kiln_error *kiln__running_error(const kiln_vm *vm, kiln_error *ret);

/* Fails it with KILN_ECANCELED, unless it is failing already. NULL is allowed. */
void kiln__start_cancel(struct kiln__start *start);

/* --- the runner's end (end.c) ---------------------------------------------------------------- */

/*
 * Sees to it that kiln__ops_runner_gone() is called from the loop once there is no
 * runner any more, the directory having been settled then.
 */
int kiln__end_await(kiln_vm *vm, kiln_error *err);

/*
 * The same, and kiln__ops_reach_again() whenever something happens in the runtime directory.
 * Returns 1 if that was not looked at before.
 */
int kiln__end_await_socket(kiln_vm *vm, kiln_error *err);

/* The same for a runner that was just spawned; takes @child on success. */
int kiln__end_watch_child(kiln_vm *vm, struct kiln__child *child, kiln_error *err);
void kiln__end_forget(struct kiln__end *end); /* NULL is allowed */

/* Blocks until the child that is being watched has gone, for which it has been given cause. */
void kiln__end_wait(struct kiln__end *end); /* NULL is allowed */

/* How long a runner that ends because its launch connection did may take before it is killed. */
#define KILN__RUNNER_END_MS 10000

/* --- streams (rawstream.c) ----------------------------------------------------------- */

/* A public stream over @stream, which it owns. NULL when out of memory. */
kiln_stream *kiln__stream_wrap(struct kiln__stream *stream);

/* --- waiting (sync.c) ---------------------------------------------------------------------- */

/* Runs the loop until *@over. KILN_ETIMEDOUT after @timeout_ms; -1: no deadline. */
int kiln__run_until(kiln_loop *loop, const bool *over, int timeout_ms, kiln_error *err);

/* --- handles (manager.c) ------------------------------------------------------------- */

/* Holds a handle while callbacks run; frees what was to be freed meanwhile. */
void kiln__vm_hold(kiln_vm *vm);
void kiln__vm_let_go(kiln_vm *vm);

#endif
