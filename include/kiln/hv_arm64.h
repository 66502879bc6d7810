/* SPDX-License-Identifier: Apache-2.0 */
/* The port's AArch64 part. */
#ifndef KILN_HV_ARM64_H
#define KILN_HV_ARM64_H

#include <kiln/hv.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes the vCPU one of the host's own kind with PSCI 0.2 and sets where it
 * starts: at @pc in EL1h with interrupts masked, the MMU off, x0 = @x0 and
 * x1..x3 = 0 (the arm64 Linux boot protocol, Documentation/arch/arm64/booting.rst).
 * Once per vCPU to initialise it; again to start it over.
 */
KILN_PUBLIC int kiln_hv_arm64_start(kiln_hv_vcpu *vcpu, uint64_t pc, uint64_t x0, kiln_error *err);

#ifdef __cplusplus
}
#endif

#endif
