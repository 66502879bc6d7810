/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a function's table of messages and of those that are pending.
 *
 * The table lies in memory that the guest may write to at any time, so what is read there is read
 * until it holds still. A message that finds its vector masked waits; from then on the guest's
 * writes have to come here, to see the mask go: that is the owner's to bring about. Messages go out
 * by KVM_SIGNAL_MSI or its like: no routing table has to follow what the guest writes, but for
 * vectors that something in the kernel raises by a descriptor. Callers hold the function's lock.
 */
#ifndef KILN_VMM_MSIX_H
#define KILN_VMM_MSIX_H

#include <kiln/hv.h>

#include <stdbool.h>
#include <stdint.h>

#define KILN__MSIX_ENTRY       16u
#define KILN__MSIX_MAX_VECTORS 32u

struct kiln__msix {
	kiln_hv_vm *vm;
	uint8_t *table;   /* count entries of KILN__MSIX_ENTRY bytes, guest-writable */
	uint8_t *pending; /* a bit each */
	unsigned count;
	bool enabled;
	bool masked; /* all of it */
};

/* Sets up a table, every vector masked (6.8.2.9). */
void kiln__msix_init(struct kiln__msix *msix, kiln_hv_vm *vm, uint8_t *table, uint8_t *pending,
		     unsigned count);
void kiln__msix_reset(struct kiln__msix *msix);

/* The guest writes to the table; @offset + @size is within it. */
void kiln__msix_write(struct kiln__msix *msix, uint64_t offset, uint8_t size, uint64_t value);

/* The guest has written the message control word (6.8.2.3). */
void kiln__msix_control(struct kiln__msix *msix, uint16_t control);

/* Where a vector's message goes, if it may be sent now. */
bool kiln__msix_message(const struct kiln__msix *msix, unsigned vector, uint64_t *ret_address,
			uint32_t *ret_data);

/*
 * Sends a vector's message, or marks it pending and returns false: then the guest's writes must
 * come to kiln__msix_write(), and kiln__msix_retry() is due once they do. What is no vector is
 * ignored.
 */
bool kiln__msix_fire(struct kiln__msix *msix, unsigned vector);

/* Sends what is pending and no longer masked. */
void kiln__msix_retry(struct kiln__msix *msix);

#endif
