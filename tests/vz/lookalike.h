/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look-alike of Virtualization.framework for Linux, on GNU's Objective-C runtime and GNUstep's
 * Foundation. Linked into a test, it answers the vz backend as the framework does: each class of
 * the tables (selectors.tsv, more.tsv) is there, and takes the messages that its table has and no
 * others; a VM that is started really runs, by kiln's QEMU backend, with what is read back from the
 * objects.
 *
 * What breaks the framework's rules (a message off the queue, one that the table does not have, an
 * object used before it was made) ends the process with a line that says what. What the framework
 * answers with an error, so does this.
 */
#ifndef TESTS_VZ_LOOKALIKE_H
#define TESTS_VZ_LOOKALIKE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What goes wrong, on demand; all zero: nothing. */
struct lookalike_faults {
	bool no_boot;        /* start does all but boot */
	int start_code;      /* a VZErrorCode that start completes with */
	bool guest_stops;    /* once started, the guest stops itself */
	int error_stop_code; /* once started, the VM stops with this VZErrorCode */
	bool never_stops;    /* stop does not complete */
	bool no_entitlement; /* the runner was not signed */
	bool not_supported;  /* this Mac cannot run VMs */
	bool disconnect;     /* once started, the network's attachment is lost */
	bool disk_error;     /* once started, the network disk's server is lost */
	bool cannot_save;    /* this configuration's state cannot be saved */
	int restore_code;    /* a VZErrorCode that restore completes with */
	int rosetta;         /* VZLinuxRosettaAvailability: 0 is none */
	int rosetta_install_code;
	bool nested;  /* this Mac's processor can */
	bool monitor; /* no fault: a VM that is started can be saved */
};
extern struct lookalike_faults lookalike_faults;

/* Before anything else, and before descriptors are counted: makes classes and threads. */
void lookalike_begin(void);

/* Hides a class, or a method of it, as on an older macOS; NULL, NULL shows all again. */
void lookalike_hide(const char *class_name, const char *selector);

/* Records the messages that the classes get, a line each, until it is taken (malloc'ed). */
void lookalike_trace(void);
char *lookalike_take_trace(void);

/* Objects of the framework that live now. */
long lookalike_alive(void);

/* The same of Foundation's objects, of all classes. */
long lookalike_foundation_alive(void);

/* The process that runs the VM that was started last; 0: none. */
pid_t lookalike_vmm_pid(void);

/* Whether the caller runs on a dispatch queue. */
bool lookalike_on_queue(void);

#endif
