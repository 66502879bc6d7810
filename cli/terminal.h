/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal that the command was started on: raw while a guest's stands in its place. */
#ifndef KILN_CLI_TERMINAL_H
#define KILN_CLI_TERMINAL_H

#include <stdbool.h>

/* Whether standard input is a terminal. */
bool terminal_is_input(void);

/*
 * Makes it raw. @keys: ctrl-c and the like still send signals. May be called again
 * to change that, or after the process was stopped and continued. It is put
 * back by terminal_restore(), at exit(), and when a fault kills the process.
 */
void terminal_raw(bool keys);
void terminal_restore(void);

/* The size of the first of standard input, output and error that is one; false if none is. */
bool terminal_size(unsigned *ret_rows, unsigned *ret_cols);

#endif
