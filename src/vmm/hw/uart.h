/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serial port at COM1, as much of a 16550 (National Semiconductor PC16550D) as is asked for.
 *
 * As an early console it is never announced and can only be written to: a kernel told of it
 * (earlycon=uart8250,io,0x3f8) writes its last words there, before it has any driver; a driver that
 * probes for a serial port finds none, since the registers it tries read as ones. Whole, it is
 * announced by ACPI and the guest's ttyS0: both ways, with its interrupt.
 *
 * Registers are touched on vCPU threads, input comes on the loop's.
 */
#ifndef KILN_VMM_UART_H
#define KILN_VMM_UART_H

#include <kiln/hv.h>

#include "bus.h"
#include "ioapic.h"

#include <pthread.h>
#include <stddef.h>

#define KILN__UART_FIFO 64

struct kiln__uart {
	struct kiln__ioapic *ioapic;
	bool whole;
	void (*output)(void *data, uint8_t byte); /* on a vCPU's thread */
	void *data;

	pthread_mutex_t lock; /* guards what follows, if whole */
	uint8_t ier, lcr, mcr, scr;
	uint8_t divisor[2];
	bool sent; /* the transmitter has become empty, and nobody has taken note */
	bool line; /* the interrupt's level */
	uint8_t fifo[KILN__UART_FIFO];
	size_t begin;
	size_t count;
};

/* Claims its ports. What is given is borrowed. */
void kiln__uart_init(struct kiln__uart *uart, struct kiln__bus *bus, struct kiln__ioapic *ioapic,
		     bool whole, void (*output)(void *data, uint8_t byte), void *data);

/* As it was made. No vCPU runs. */
void kiln__uart_reset(struct kiln__uart *uart);

/* Input for the guest: bytes taken; what does not fit is dropped by a serial line. */
size_t kiln__uart_input(struct kiln__uart *uart, const uint8_t *bytes, size_t len);

#endif
