/* SPDX-License-Identifier: Apache-2.0 */
/* Register numbers and bits: PC16550D data sheet, table II. */
#include "uart.h"

#include "layout.h"

#define DATA 0 /* receiver buffer and transmitter holding register; divisor's low byte */
#define IER  1 /* interrupt enable; divisor's high byte */
#define IIR  2 /* interrupt identification, read; FIFO control, written */
#define LCR  3
#define MCR  4
#define LSR  5
#define MSR  6
#define SCR  7

#define IER_RX 0x01u
#define IER_TX 0x02u

#define IIR_NONE 0x01u
#define IIR_TX   0x02u
#define IIR_RX   0x04u
#define IIR_FIFO 0xc0u

#define LCR_DLAB 0x80u
#define MCR_LOOP 0x10u

#define LSR_READY 0x01u
#define LSR_EMPTY 0x60u /* transmitter holding register and transmitter */

#define MSR_PRESENT 0xb0u /* carrier, data set ready, clear to send */

static void update_line(struct kiln__uart *u)
{
	bool level = (u->ier & IER_RX && u->count) || (u->ier & IER_TX && u->sent);

	if (level && !u->line)
		kiln__ioapic_edge(u->ioapic, KILN__COM1_GSI, NULL);
	u->line = level;
}

static uint8_t identify(struct kiln__uart *u)
{
	if (u->ier & IER_RX && u->count)
		return IIR_FIFO | IIR_RX;
	if (u->ier & IER_TX && u->sent) {
		u->sent = false; /* reading it clears it */
		return IIR_FIFO | IIR_TX;
	}
	return IIR_FIFO | IIR_NONE;
}

static uint8_t take_byte(struct kiln__uart *u)
{
	uint8_t byte = 0;

	if (u->count) {
		byte = u->fifo[u->begin];
		u->begin = (u->begin + 1) % KILN__UART_FIFO;
		u->count--;
	}
	return byte;
}

static uint8_t read_register(struct kiln__uart *u, unsigned number)
{
	bool divisor = u->lcr & LCR_DLAB;

	switch (number) {
	case DATA:
		return divisor ? u->divisor[0] : take_byte(u);
	case IER:
		return divisor ? u->divisor[1] : u->ier;
	case IIR:
		return identify(u);
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		return LSR_EMPTY | (u->count ? LSR_READY : 0);
	case MSR:
		/* In loop-back the outputs come back as inputs: drivers tell a UART by that. */
		if (u->mcr & MCR_LOOP)
			return (uint8_t)((u->mcr & 0x0c) << 4 | (u->mcr & 0x02) << 3 |
					 (u->mcr & 0x01) << 5);
		return MSR_PRESENT;
	default:
		return u->scr;
	}
}

static void put_byte(struct kiln__uart *u, uint8_t byte)
{
	if (u->mcr & MCR_LOOP && u->count < KILN__UART_FIFO)
		u->fifo[(u->begin + u->count++) % KILN__UART_FIFO] = byte;
	else if (!(u->mcr & MCR_LOOP))
		u->output(u->data, byte);
	u->sent = true;
}

static void write_register(struct kiln__uart *u, unsigned number, uint8_t value)
{
	bool divisor = u->lcr & LCR_DLAB;

	if (number == DATA && divisor)
		u->divisor[0] = value;
	else if (number == DATA)
		put_byte(u, value);
	else if (number == IER && divisor)
		u->divisor[1] = value;
	else if (number == IER) {
		u->sent |= value & ~u->ier &
			   IER_TX; /* enabling it with nothing to send tells at once */
		u->ier = value & 0x0f;
	} else if (number == IIR && value & 0x02)
		u->begin = u->count = 0;
	else if (number == LCR)
		u->lcr = value;
	else if (number == MCR)
		u->mcr = value & 0x1f;
	else if (number == SCR)
		u->scr = value;
}

static void on_whole(void *data, struct kiln__bus_access *access)
{
	struct kiln__uart *u = data;

	pthread_mutex_lock(&u->lock);
	if (access->write)
		write_register(u, (unsigned)access->offset, (uint8_t)access->value);
	else
		access->value = read_register(u, (unsigned)access->offset);
	update_line(u);
	pthread_mutex_unlock(&u->lock);
}

static void on_early(void *data, struct kiln__bus_access *access)
{
	struct kiln__uart *u = data;

	if (access->write && access->offset == DATA)
		u->output(u->data, (uint8_t)access->value);
	else if (!access->write && access->offset == LSR)
		access->value = LSR_EMPTY;
}

void kiln__uart_init(struct kiln__uart *uart, struct kiln__bus *bus, struct kiln__ioapic *ioapic,
		     bool whole, void (*output)(void *data, uint8_t byte), void *data)
{
	*uart = (struct kiln__uart){
		.ioapic = ioapic,
		.whole = whole,
		.output = output,
		.data = data,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	kiln__bus_add_ports(bus, KILN__COM1_PORT, 8, whole ? on_whole : on_early, uart);
}

void kiln__uart_reset(struct kiln__uart *u)
{
	pthread_mutex_lock(&u->lock);
	u->ier = u->lcr = u->mcr = u->scr = 0;
	u->divisor[0] = u->divisor[1] = 0;
	u->begin = u->count = 0;
	u->sent = false;
	update_line(u);
	pthread_mutex_unlock(&u->lock);
}

size_t kiln__uart_input(struct kiln__uart *u, const uint8_t *bytes, size_t len)
{
	size_t n = 0;

	if (!u->whole)
		return 0;
	pthread_mutex_lock(&u->lock);
	while (n < len && u->count < KILN__UART_FIFO)
		u->fifo[(u->begin + u->count++) % KILN__UART_FIFO] = bytes[n++];
	update_line(u);
	pthread_mutex_unlock(&u->lock);
	return n;
}
