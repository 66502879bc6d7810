/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A built-in machine put together, as on a board: hypervisor, memory, firmware tables, buses,
 * kernel. What runs it is builtin.c's.
 */
#ifndef KILN_BACKENDS_BUILTIN_BOARD_H
#define KILN_BACKENDS_BUILTIN_BOARD_H

#include "backend.h"
#include "boot.h"
#include "bus.h"
#include "cpu.h"
#include "devices.h"
#include "ioapic.h"
#include "mailbox.h"
#include "pci.h"
#include "pm.h"
#include "ram.h"
#include "uart.h"

struct kiln__board {
	const struct kiln__backend_host *host;
	kiln_hv *hv;
	kiln_hv_vm *vm;
	struct kiln__ram *ram;
	struct kiln__bus bus;
	struct kiln__ioapic ioapic;
	struct kiln__pm pm;
	struct kiln__uart uart;
	struct kiln__pci *pci;
	struct kiln__devices devices;
	struct kiln__cpuid cpuid;
	struct kiln__boot_entry entry;
	kiln_fd kernel; /* kept open for a guest that may start again, as are states: */
	kiln_fd initrd;
	struct kiln__blob {
		void *bytes;
		size_t size;
	} vm_state, cpu_states[KILN__MAX_VCPUS];
};

/* Whether a kernel, a command line and devices like these are possible. */
int kiln__board_check(const struct kiln__spec *spec, kiln_error *err);

/*
 * Opens and makes all of it, but no vCPU. Borrows @host, @box and @pm_handler. On failure what was
 * made is for kiln__board_done().
 */
int kiln__board_init(struct kiln__board *board, const struct kiln__backend_host *host,
		     struct kiln__mailbox *box, const struct kiln__pm_handler *pm_handler,
		     void *pm_data, kiln_error *err);

/* Memory, devices and buses as kiln__board_init() left them. No vCPU runs. */
int kiln__board_reset(struct kiln__board *board, kiln_error *err);

/* A vCPU's first state, on its thread. */
int kiln__board_init_cpu(struct kiln__board *board, unsigned index, kiln_hv_vcpu *vcpu,
			 kiln_error *err);

/* No vCPU runs any more. */
void kiln__board_done(struct kiln__board *board);

#endif
