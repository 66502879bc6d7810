/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI: one bus of single-function devices with memory BARs and MSI-X.
 *
 * The configuration space is guest memory that can be read but not written: the guest's reads
 * cost nothing, its writes come here and change the bytes that may be written (PCI Local Bus
 * 3.0, 6.2). What a function keeps in registers that are mostly read may lie in the same kind of
 * memory: a page a function behind its BAR 0, mapped once for all of them, at the places where the
 * BARs are from the beginning. A guest that moves a BAR 0 away from its page reads it by
 * exits, which is slower and as right.
 *
 * A function's MSI-X table is a page of plain memory, behind BAR 2: setting up a vector is eleven
 * writes, none of which exits. Who has to hear of one (a message waits for its mask to go, a route
 * follows its vector) has the tables watched from then on: they are read-only then, too.
 *
 * A slot without a device reads as zeros, not ones, so that untouched slots have no memory: Linux
 * takes a vendor of 0 for an empty slot as well, and nothing here is found but by ACPI.
 *
 * Accesses come on vCPU threads; the configuration space has a lock, the functions have their own.
 */
#ifndef KILN_VMM_PCI_H
#define KILN_VMM_PCI_H

#include <kiln/hv.h>

#include "bus.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define KILN__PCI_MAX_FUNCTIONS 32
#define KILN__PCI_PAGE          0x1000u /* the size of every BAR here, and of the page behind BAR 0 */
#define KILN__PCI_BARS          3
#define KILN__PCI_TABLE_BAR     2

/* Offsets in the header (6.1). */
#define KILN__PCI_COMMAND 0x04u
#define KILN__PCI_BAR     0x10u

#define KILN__PCI_COMMAND_MEMORY 0x0002u

struct kiln__pci;

/* What a function is, for its header. */
struct kiln__pci_identity {
	uint16_t vendor;
	uint16_t device;
	uint32_t class_revision; /* class code in the upper three bytes */
	uint16_t subsystem_vendor;
	uint16_t subsystem;
};

struct kiln__pci_function {
	struct kiln__pci *pci;
	unsigned slot;
	uint8_t *config; /* its 4 KiB of configuration space; written to under the bus's lock */
	uint8_t *page;   /* what the guest reads behind BAR 0 */
	uint8_t *table;  /* what it reads and, unwatched, writes behind BAR 2; all zeros at first */
	uint8_t last_cap; /* offset of the last capability, to chain the next to; 0: none */
	uint8_t free_cap; /* where the next one goes */
	uint8_t msix;     /* offset of the MSI-X capability, or 0 */
	uint8_t window;   /* offset of a capability whose last sixteen bytes may be written, or 0 */

	/* An access behind a BAR that memory did not answer. */
	void (*access)(struct kiln__pci_function *fn, unsigned bar,
		       struct kiln__bus_access *access);
	/* Four bytes of configuration space at @offset have been written to, under the bus's lock.
	 */
	void (*configured)(struct kiln__pci_function *fn, unsigned offset);
};

/* Makes the bus, maps its memory and claims its ranges. */
int kiln__pci_new(struct kiln__pci **ret, kiln_hv_vm *vm, struct kiln__bus *bus, kiln_error *err);
void kiln__pci_free(struct kiln__pci *pci); /* after the VM; NULL is allowed */

/*
 * Plugs a function (its callbacks are set; the rest is filled in) into the next slot, with BARs
 * of a page each, enabled at their first addresses by the guest. KILN_ENOSPC if all slots are
 * taken.
 */
int kiln__pci_add(struct kiln__pci *pci, struct kiln__pci_function *fn,
		  const struct kiln__pci_identity *identity, kiln_error *err);

/*
 * From when this returns to the next reset every write to a table comes by access(). On the loop's
 * thread.
 */
void kiln__pci_watch_tables(struct kiln__pci *pci);

/* A page that the guest can read at KILN__IOAPIC_BASE: of the same piece, so that it is no slot of
 * its own. */
uint8_t *kiln__pci_ioapic_page(struct kiln__pci *pci);

/* Appends a capability of @len bytes (the first is its id, the second is filled in); its offset. */
unsigned kiln__pci_add_cap(struct kiln__pci_function *fn, const void *cap, uint8_t len);

/* Where a BAR lies now; 0 if the guest does not decode memory. Any thread. */
uint64_t kiln__pci_bar(const struct kiln__pci_function *fn, unsigned bar);

/*
 * Puts the configuration space and the BARs back to where they were before the guest ran. On the
 * loop's thread.
 */
void kiln__pci_reset(struct kiln__pci *pci);

#endif
