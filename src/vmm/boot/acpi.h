/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware tables of a machine without firmware: ACPI 6.4, hardware-reduced (4.1), which has
 * no fixed hardware but two registers to sleep and one to reset, all in layout.h. Everything else
 * that a guest finds, it finds because a table names it.
 */
#ifndef KILN_VMM_BOOT_ACPI_H
#define KILN_VMM_BOOT_ACPI_H

#include "ram.h"

#define KILN__ACPI_MAX_CPUS 64

struct kiln__acpi_options {
	unsigned cpus;           /* 1 to KILN__ACPI_MAX_CPUS */
	const uint8_t *apic_ids; /* one a processor, below 255; NULL: 0, 1, 2 ... */
	uint32_t io_apic;        /* its address, and the interrupt of its first pin */
	uint32_t first_gsi;
	bool pci; /* else there is no bus */
	bool pvpanic;
	bool serial; /* a 16550 at COM1 */
	bool rtc;    /* a CMOS clock at its customary ports, without an interrupt */
};

/*
 * Writes the tables to KILN__ACPI_BASE, and to KILN__RESET_VECTOR a few instructions that write
 * the reset register; yields the RSDP's address. KILN_EINVAL for a number of
 * processors or an APIC id that cannot be.
 */
int kiln__acpi_build(struct kiln__ram *ram, const struct kiln__acpi_options *options,
		     uint64_t *ret_rsdp, kiln_error *err);

#endif
