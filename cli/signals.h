/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as events of the loop. */
#ifndef KILN_CLI_SIGNALS_H
#define KILN_CLI_SIGNALS_H

#include <kiln/loop.h>

struct signals;

/*
 * From here on HUP, INT, QUIT, USR1, USR2, TERM, WINCH and CONT are told to @fn from the loop
 * instead of what they would do; those that are ignored stay so (nohup, a shell's "&").
 */
int signals_new(struct signals **ret, kiln_loop *loop, void (*fn)(void *data, int number),
		void *data, kiln_error *err);

/* As it was before; what is pending then acts as it would have. NULL is allowed. */
void signals_free(struct signals *signals);

/* Ends this process by a signal, as if it had never been caught. */
_Noreturn void signals_die(int number);

#endif
