/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_GUEST_MODULES_H
#define KILN_GUEST_MODULES_H

#include <kiln/error.h>

/*
 * Loads what /modules/order names, one a line, each from /modules/NAME.ko, in that
 * order; what follows a name are its parameters. A '-' before a name: a failure is no
 * matter. Already loaded or built in is fine, and so is no such hardware. After each
 * module @step is called with its name. No list is an empty list.
 */
int load_modules(void (*step)(void *data, const char *name), void *data, kiln_error *err);

#endif
