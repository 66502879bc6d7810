/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual processors of a VM: a thread each, which makes its vCPU, runs it and carries out its
 * exits.
 *
 * All functions are for the loop's thread, and never block but kiln__vcpus_free(). The threads are
 * made by start(), inherit what the process has given up by then, and end when they are told to,
 * when the guest powers off or resets, or when one of them cannot go on. What happens is told on
 * the loop's thread, in order, by the handler. Between two runs of the guest (all threads are
 * parked) nothing of the VM changes but by the loop.
 */
#ifndef KILN_VMM_VCPUS_H
#define KILN_VMM_VCPUS_H

#include <kiln/hv.h>

#include "bus.h"
#include "loop.h"

#include <stdbool.h>

struct kiln__vcpus;

enum kiln__vcpus_end {
	KILN__VCPUS_STOPPED,  /* by kiln__vcpus_stop() */
	KILN__VCPUS_POWEROFF, /* the guest asked for it */
	KILN__VCPUS_RESET,
	KILN__VCPUS_FAILED, /* what comes with it says why */
};

struct kiln__vcpus_handler {
	/*
	 * On the thread of vCPU @index, which was just made: sets its state. Failing ends the VM.
	 */
	int (*init)(void *data, unsigned index, kiln_hv_vcpu *vcpu, kiln_error *err);
	/* The boot processor is about to run. */
	void (*started)(void *data);
	/* All are parked. */
	void (*paused)(void *data);
	/*
	 * No vCPU runs any more. After RESET they are parked and kiln__vcpus_restart() may follow;
	 * after all else the threads have ended. Once.
	 */
	void (*ended)(void *data, enum kiln__vcpus_end how, const kiln_error *err);
};

/* Makes the object; no thread yet. All is borrowed. */
int kiln__vcpus_new(struct kiln__vcpus **ret, kiln_loop *loop, kiln_hv_vm *vm,
		    const struct kiln__bus *bus, unsigned count,
		    const struct kiln__vcpus_handler *handler, void *data, kiln_error *err);

/* Starts the threads. Those already made end if a later one cannot be. */
int kiln__vcpus_start(struct kiln__vcpus *vcpus, kiln_error *err);

/* Parks all; paused() follows, unless the end does. */
void kiln__vcpus_pause(struct kiln__vcpus *vcpus);
void kiln__vcpus_resume(struct kiln__vcpus *vcpus);

/* Ends all; ended() follows. */
void kiln__vcpus_stop(struct kiln__vcpus *vcpus);

/* After ended(RESET): init() is called again on each thread, and the guest runs anew. */
void kiln__vcpus_restart(struct kiln__vcpus *vcpus);

/* For exit handlers, on a vCPU's thread: the guest is to end or to be reset, once that exit is
 * done. */
void kiln__vcpus_end_guest(struct kiln__vcpus *vcpus, enum kiln__vcpus_end how);

/* Whether there are any, so that an end is told. NULL: none. */
bool kiln__vcpus_has_threads(const struct kiln__vcpus *vcpus);

/* Stops and joins the threads. NULL is allowed. */
void kiln__vcpus_free(struct kiln__vcpus *vcpus);

#endif
