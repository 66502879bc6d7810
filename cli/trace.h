/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --trace: what took how long, in the Trace Event Format that chrome://tracing and
 * Perfetto read. Three rows: this process, the VM's runner and VMM, the guest.
 */
#ifndef KILN_CLI_TRACE_H
#define KILN_CLI_TRACE_H

#include <kiln/manager.h>

struct trace;

/* Moments of this process. */
enum trace_moment {
	TRACE_EXEC,    /* the process was made */
	TRACE_MAIN,    /* its own first instruction */
	TRACE_CREATED, /* the VM was */
	TRACE_RUNNING, /* the runner has answered: the guest runs */
	TRACE_PROCESS, /* the guest's process runs */
	TRACE_OUTPUT,  /* its first byte */
	TRACE_EXIT,    /* it has ended */
	TRACE_STOPPED, /* the VM has, and its runner */
	TRACE_MOMENTS,
};

int trace_new(struct trace **ret, const char *path, kiln_error *err);

/* Notes a moment's first time. @trace may be NULL. */
void trace_once(struct trace *trace, enum trace_moment moment);

/* Writes the file, having asked @vm what it knows. */
int trace_write(struct trace *trace, kiln_manager *manager, kiln_vm *vm, kiln_error *err);
void trace_free(struct trace *trace); /* NULL is allowed */

#endif
