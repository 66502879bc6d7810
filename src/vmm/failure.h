/* SPDX-License-Identifier: Apache-2.0 */
/* Why a vCPU cannot go on, with its registers: what a VM's failure says. */
#ifndef KILN_VMM_FAILURE_H
#define KILN_VMM_FAILURE_H

#include <kiln/hv.h>

/* Fills @ret for an exit that ends the VM. On the vCPU's thread. */
void kiln__vcpu_failure(kiln_hv_vcpu *vcpu, unsigned index, const kiln_hv_exit *exit,
			kiln_error *ret);

#endif
