/* SPDX-License-Identifier: Apache-2.0 */
/* What kiln_machine_change() does, by the names of the control protocol and of messages. */
#ifndef KILN_MACHINE_CHANGE_NAMES_H
#define KILN_MACHINE_CHANGE_NAMES_H

#include <kiln/machine.h>

/* "add", "remove" ... by enum kiln_change_kind; ends with NULL. src/machine/change.c. */
extern const char *const kiln__change_names[];
const char *kiln__change_name(enum kiln_change_kind kind); /* "?": there is none such */

#endif
