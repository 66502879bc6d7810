/* SPDX-License-Identifier: Apache-2.0 */
/* Whether this host's KVM really runs guests, for the backends that use it. */
#ifndef KILN_BACKENDS_KVM_H
#define KILN_BACKENDS_KVM_H

#include <kiln/error.h>

/*
 * Why KVM cannot be used for guests of @arch: 0 if it can. By the preflight, whose answer
 * is kept between runs (preflight.h), in the runtime directory.
 */
int kiln__kvm_reason(const char *arch, kiln_error *reason);

#endif
