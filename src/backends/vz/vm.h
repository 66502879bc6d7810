/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The half of a VM that lives on its queue: the framework's objects, and the list by which the
 * loop is told what has become of what it asked.
 *
 * Counted: the instance holds it, and each operation on its way. kiln__vz_vm_free() silences it:
 * nothing is told from then on, whatever the framework still does.
 */
#ifndef KILN_BACKENDS_VZ_VM_H
#define KILN_BACKENDS_VZ_VM_H

#include "backend.h"
#include "config.h"
#include "list.h"
#include "loop.h"
#include "objc.h"

enum kiln__vz_what {
	KILN__VZ_START,
	KILN__VZ_PAUSE,
	KILN__VZ_RESUME,
	KILN__VZ_SHUTDOWN,
	KILN__VZ_SAVE,
	KILN__VZ_RESTORE, /* a start from what was saved */
	KILN__VZ_BALLOON,
	KILN__VZ_CONNECT,
	/* Told without having been asked. */
	KILN__VZ_INCOMING,
	KILN__VZ_WARNING,
};

struct kiln__vz_vm;

/*
 * What the loop asks, and what it is told. Counted by its call; the results are written before it
 * is told, and read on the loop only.
 */
struct kiln__vz_op {
	struct kiln__job job;
	struct kiln__call call;
	struct kiln__vz_vm *vm;
	struct kiln__list link; /* the loop's: nobody has been told yet */
	struct kiln__list note; /* of what waits to be told */
	enum kiln__vz_what what;
	uint32_t port;
	uint32_t from;
	uint64_t memory; /* what the balloon leaves the guest */
	char *path;      /* of the saved state; malloc'ed, owned */
	kiln_done_fn done;
	kiln__connect_fn connected;
	void *data;
	/* Results. */
	kiln_fd fd; /* a connection; owned */
	kiln_error err;
};

/* @waker, which outlives kiln__vz_vm_free(), is woken when there is something to be told. */
int kiln__vz_vm_new(struct kiln__vz_vm **ret, struct kiln__waker *waker, kiln_error *err);

/* Makes the VM of the plan, and listens at @ports (ends with 0). Waits for its queue. */
int kiln__vz_vm_build(struct kiln__vz_vm *vm, struct kiln__vz_plan *plan, const uint32_t *ports,
		      kiln_error *err);

/* An operation that nobody has asked yet, held once. */
struct kiln__vz_op *kiln__vz_op_new(struct kiln__vz_vm *vm, enum kiln__vz_what what);
void kiln__vz_op_unref(struct kiln__vz_op *op);

void kiln__vz_vm_ask(struct kiln__vz_vm *vm, struct kiln__vz_op *op);

/* Ends it as soon as the framework can. Idempotent. */
void kiln__vz_vm_kill(struct kiln__vz_vm *vm);

/* The next thing to be told, held for the caller; NULL: nothing (now). */
struct kiln__vz_op *kiln__vz_vm_next(struct kiln__vz_vm *vm);

/* Whether all is over: its objects are released, and nothing else will be told. */
bool kiln__vz_vm_ended(struct kiln__vz_vm *vm, enum kiln__end *ret_how, kiln_error *ret_err);

/* Ends what runs and releases all objects, on the queue, which it waits for. NULL is allowed. */
void kiln__vz_vm_free(struct kiln__vz_vm *vm);

#endif
