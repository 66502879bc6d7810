/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MACHINE_CHOOSE_H
#define KILN_MACHINE_CHOOSE_H

#include <stdbool.h>

struct kiln__spec;

/*
 * As soon as a VM is to be started: whether a backend that needs KVM will be asked for, and works
 * here, which is handed on to who makes the machine (kiln__machine_new()). What that one would wait
 * for is begun.
 */
bool kiln__backend_look_ahead(const struct kiln__spec *spec);

#endif
