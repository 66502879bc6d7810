/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_QEMU_TSC_H
#define KILN_QEMU_TSC_H

#include <stdint.h>

/*
 * The frequency in kHz of the counter that an emulated x86 guest reads as its TSC: the
 * host's own (QEMU's TCG passes it through). Measured once per boot of the host, for
 * 10 ms, and remembered in the runtime directory. 0 if it cannot be told.
 */
uint32_t kiln__qemu_tsc_khz(void);

#endif
