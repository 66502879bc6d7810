/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things lie in an x86-64 guest of the built-in VMM: physical addresses, ports
 * and interrupt lines. The firmware tables tell the guest of all of them; nothing here
 * is at a place that a driver would look for without being told, but for the debug
 * port and the serial port, which are asked for by name.
 *
 *	0            640 KiB  RAM
 *	640 KiB      1 MiB    nothing but the ACPI tables, reserved
 *	1 MiB        3 GiB    RAM: kernel from 16 MiB up, initramfs at the end
 *	3 GiB        +512 MiB window for PCI BARs
 *	+512 MiB     +1 MiB   PCI configuration space (ECAM) of bus 0
 *	+1 MiB       +4 KiB   I/O APIC
 *	0xfee00000            local APICs
 *	4 GiB        ...      RAM beyond 3 GiB
 */
#ifndef KILN_VMM_LAYOUT_H
#define KILN_VMM_LAYOUT_H

#include <stdint.h>

#define KILN__MP_BASE      0x00000010u /* the first KiB is looked at first, from its beginning */
#define KILN__LOW_RAM_END  0x000a0000u /* the end of conventional memory */
#define KILN__ACPI_BASE    0x000e0000u /* where ACPI 6.4, 5.2.5.1 has the RSDP looked for */
#define KILN__ACPI_SIZE    0x00020000u
#define KILN__RESET_VECTOR 0x000ffff0u    /* where a BIOS begins, in real mode */
#define KILN__HIGH_RAM     0x00100000u    /* RAM goes on here */
#define KILN__HOLE_BASE    0xc0000000u    /* RAM below 4 GiB ends here at the latest */
#define KILN__FOUR_GIB     0x100000000ull /* ... and goes on here */

#define KILN__PCI_MMIO_BASE 0xc0000000u
#define KILN__PCI_MMIO_SIZE 0x20000000u
#define KILN__ECAM_BASE     0xe0000000u
#define KILN__ECAM_SIZE     0x00100000u /* one bus: 32 devices of 8 functions of 4 KiB */

#define KILN__IOAPIC_BASE (KILN__ECAM_BASE + KILN__ECAM_SIZE)
#define KILN__IOAPIC_SIZE 0x1000u
#define KILN__IOAPIC_PINS 2
#define KILN__LAPIC_BASE  0xfee00000u

/* Interrupts that are no messages: none of those below 16, which kernels have notions of. */
#define KILN__FIRST_GSI 16u

/* Fixed registers of hardware-reduced ACPI (ACPI 6.4, 4.8.3.6 and 4.8.3.7) and the generic
 * event device's selector (5.6.9). */
#define KILN__PM_PORT         0x600u
#define KILN__PM_SLEEP_CTL    0x600u /* 1 byte, written: sleep type in bits 2-4, enable in bit 5 */
#define KILN__PM_SLEEP_STATUS 0x601u /* 1 byte */
#define KILN__PM_RESET        0x602u /* 1 byte: writing KILN__PM_RESET_VALUE resets */
#define KILN__PM_RESET_VALUE  0x01u
#define KILN__PM_EVENTS       0x604u /* 4 bytes, read: which events there were; reading clears */
#define KILN__PM_SIZE         8u

#define KILN__PM_S5_TYPE 5u /* what \_S5 says is to be written to sleep */

/* Events: bits of KILN__PM_EVENTS. */
#define KILN__EVENT_POWER 0x1u /* the power button */
#define KILN__EVENT_SLEEP 0x2u /* the sleep button */

#define KILN__GED_GSI 16u /* edge-triggered, active high */

/* pvpanic (QEMU's docs/specs/pvpanic.txt): one port. */
#define KILN__PVPANIC_PORT 0x505u

/* A 16550, where one is asked for. */
#define KILN__COM1_PORT 0x3f8u
#define KILN__COM1_GSI  17u

/* A CMOS clock, where one is asked for: index and data. */
#define KILN__RTC_PORT 0x70u

#endif
