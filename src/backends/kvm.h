/* SPDX-License-Identifier: Apache-2.0 */
/* Whether this host's KVM really runs guests, for the backends that use it. */
#ifndef KILN_BACKENDS_KVM_H
#define KILN_BACKENDS_KVM_H

#include <kiln/error.h>

#include <stdbool.h>

struct kiln__spec;

/*
 * Why KVM cannot be used for guests of @arch: 0 if it can. By the preflight, whose answer
 * is kept between runs (preflight.h), in the runtime directory. @quick: from there, or KILN_EBUSY.
 */
int kiln__kvm_reason(const char *arch, bool quick, kiln_error *reason);

/* The same for the machine of @spec, whose maker may have asked already. */
int kiln__kvm_reason_for(const struct kiln__spec *spec, kiln_error *reason);

#endif
