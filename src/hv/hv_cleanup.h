/* SPDX-License-Identifier: Apache-2.0 */
/* The port's objects as scope-bound variables (base/cleanup.h). */
#ifndef KILN_HV_CLEANUP_H
#define KILN_HV_CLEANUP_H

#include <kiln/hv.h>

#include "cleanup.h"

KILN__DEFINE_AUTOPTR(kiln_hv, kiln_hv_free)
KILN__DEFINE_AUTOPTR(kiln_hv_vm, kiln_hv_vm_free)
KILN__DEFINE_AUTOPTR(kiln_hv_vcpu, kiln_hv_vcpu_free)

#endif
