/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An I/O APIC (Intel 82093AA) with a pin for each interrupt that is no message: the buttons', and
 * the serial port's. KVM's own has 24 pins, and Linux clears and masks every one at boot: some
 * hundred accesses that KVM takes apart instruction by instruction, for pins that nothing is at.
 *
 * The two registers lie in memory that the guest reads without an exit; its writes come here. Pins
 * are edge-triggered: a rising edge sends the message that the pin's entry says, or is lost while
 * that is masked, as on the original. A level is never remembered, so there is no end of interrupt
 * to wait for; an entry that asks for one is served as an edge.
 *
 * Registers are written on vCPU threads, edges come from any.
 */
#ifndef KILN_VMM_IOAPIC_H
#define KILN_VMM_IOAPIC_H

#include <kiln/hv.h>

#include "bus.h"
#include "layout.h"

#include <pthread.h>

struct kiln__ioapic {
	kiln_hv_vm *vm;
	uint8_t *page; /* what the guest reads */

	unsigned pins;
	pthread_mutex_t lock; /* guards what follows, and the page */
	uint32_t id;
	uint32_t table[KILN__IOAPIC_PINS][2]; /* redirection entries: low and high */
};

/* Claims KILN__IOAPIC_BASE. Of its pins the guest sees @pins; @page is what it sees there. All is
 * borrowed. */
void kiln__ioapic_init(struct kiln__ioapic *ioapic, struct kiln__bus *bus, kiln_hv_vm *vm,
		       uint8_t *page, unsigned pins);

/* As it was made. No vCPU runs. */
void kiln__ioapic_reset(struct kiln__ioapic *ioapic);

/* A rising edge of the pin that has this number among the guest's interrupts. Any thread. */
int kiln__ioapic_edge(struct kiln__ioapic *ioapic, unsigned gsi, kiln_error *err);

#endif
