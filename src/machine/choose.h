/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MACHINE_CHOOSE_H
#define KILN_MACHINE_CHOOSE_H

#include "spec.h"

/*
 * Whether KVM works here, if a backend that needs it will be asked for: what was found out once is
 * handed on to who makes the machine (kiln__machine_new()). KILN_EBUSY: not @quick, which it was to
 * be.
 */
int kiln__backend_ask_kvm(const struct kiln__spec *spec, bool quick, struct kiln__kvm_verdict *ret);

#endif
