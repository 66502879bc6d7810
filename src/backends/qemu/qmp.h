/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's machine protocol (docs/interop/qmp-spec in QEMU's sources), client side. */
#ifndef KILN_QEMU_QMP_H
#define KILN_QEMU_QMP_H

#include "fd.h"
#include "loop.h"

#include <jansson.h>
#include <kiln/machine.h>

struct kiln__qmp;

struct kiln__qmp_handler {
	/* An event: its name and its data object (NULL if none), borrowed. */
	void (*event)(void *data, const char *name, const json_t *event_data);
	/*
	 * The connection is over. Once. Pending commands stay pending until kiln__qmp_end():
	 * why it is over, only the process's end tells.
	 */
	void (*closed)(void *data);
};

/* A client on a connected socket, which it owns. The greeting and capabilities are dealt with here.
 */
int kiln__qmp_new(struct kiln__qmp **ret, kiln_loop *loop, kiln_fd socket,
		  const struct kiln__qmp_handler *handler, void *data, kiln_error *err);

/*
 * Sends a command without arguments. Commands are answered in order; those given
 * before the greeting has come wait for it. @done is called once; at once if it cannot be sent.
 */
void kiln__qmp_send(struct kiln__qmp *qmp, const char *command, kiln_done_fn done, void *data);

/* Completes what is pending with @why. Nothing can be sent any more. */
void kiln__qmp_end(struct kiln__qmp *qmp, const kiln_error *why);

/* Completes what is pending with KILN_ECANCELED. NULL is allowed. */
void kiln__qmp_free(struct kiln__qmp *qmp);

#endif
