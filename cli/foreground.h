/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process in the guest as if it were one here: its output on ours, our input to it,
 * signals passed on, the terminal in its hands, its exit code ours.
 */
#ifndef KILN_CLI_FOREGROUND_H
#define KILN_CLI_FOREGROUND_H

#include "cli.h"
#include "detach.h"

#include <stdbool.h>

struct foreground_options {
	bool input;              /* standard input is passed on */
	bool tty;                /* the process has a terminal */
	struct detach_keys keys; /* leave it, if it has a terminal and input; none: nothing does */
};

struct foreground;

/* What passes between here and the process. */
int foreground_new(struct foreground **ret, struct cli *cli,
		   const struct foreground_options *options, kiln_error *err);
void foreground_free(struct foreground *fg); /* NULL is allowed; puts the terminal back */

/*
 * The process: the VM's main one, which @start says to start first (NULL: it is there), or
 * a command. Signals are events and the terminal is raw from then on.
 */
int foreground_attach(struct foreground *fg, kiln_vm *vm, const kiln_start_options *start,
		      kiln_error *err);
int foreground_exec(struct foreground *fg, kiln_vm *vm, kiln_exec_options *options,
		    kiln_error *err);

enum foreground_end {
	FOREGROUND_EXITED,      /* the process has, or there is no such command: code */
	FOREGROUND_FAILED,      /* why was said on standard error: code */
	FOREGROUND_DETACHED,    /* by the detach keys */
	FOREGROUND_INTERRUPTED, /* by a signal that was not the process's: 128 + its number */
	FOREGROUND_BROKEN,      /* nobody reads standard output any more */
};

/* Runs the loop until it is over. */
enum foreground_end foreground_run(struct foreground *fg, int *ret_code);

#endif
