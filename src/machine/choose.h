/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MACHINE_CHOOSE_H
#define KILN_MACHINE_CHOOSE_H

#include <stdbool.h>

struct kiln__spec;

/*
 * Whether a backend that needs KVM for it will be asked for, and works here: what was found out
 * once is handed on to who makes the machine (kiln__machine_new()).
 */
bool kiln__backend_kvm_works(const struct kiln__spec *spec);

#endif
