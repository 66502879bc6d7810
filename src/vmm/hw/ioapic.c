/* SPDX-License-Identifier: Apache-2.0 */
#include "ioapic.h"

#include "le.h"

#include <string.h>

/* Memory-mapped registers (82093AA, 3.1) and those behind them (3.2). */
#define SELECT  0x00u
#define WINDOW  0x10u
#define ID      0x00u
#define VERSION 0x01u
#define ARBITER 0x02u
#define TABLE   0x10u

#define ID_BITS        0x0f000000u
#define VERSION_NUMBER 0x11u /* no register for the end of an interrupt */

/* A redirection entry (3.2.4), and the message that it stands for (SDM vol. 3, 10.11). */
#define ENTRY_VECTOR      0x000000ffu
#define ENTRY_DELIVERY    0x00000700u /* the same bits in the message's data */
#define ENTRY_LOGICAL     0x00000800u
#define ENTRY_STATUS      0x00005000u /* delivery and remote IRR: read-only, and never set */
#define ENTRY_MASKED      0x00010000u
#define ENTRY_UNUSED      0xfffe0000u
#define MESSAGE_ADDRESS   UINT64_C(0xfee00000)
#define MESSAGE_LOGICAL   0x4u
#define DESTINATION_BITS  0xff000000u
#define DESTINATION_SHIFT 12 /* from bits 24 to 31 of the entry's upper half */

static uint8_t selector(const struct kiln__ioapic *ioapic)
{
	return ioapic->page[SELECT];
}

/* The word of the table that is selected, if one is. */
static uint32_t *selected(struct kiln__ioapic *ioapic)
{
	unsigned word = selector(ioapic) - TABLE;

	return selector(ioapic) >= TABLE && word < 2 * ioapic->pins
		       ? &ioapic->table[word / 2][word % 2]
		       : NULL;
}

static uint32_t read_register(struct kiln__ioapic *ioapic)
{
	const uint32_t *word = selected(ioapic);

	switch (selector(ioapic)) {
	case ID:
	case ARBITER:
		return ioapic->id;
	case VERSION:
		return VERSION_NUMBER | (ioapic->pins - 1) << 16;
	default:
		return word ? *word : 0;
	}
}

static void show(struct kiln__ioapic *ioapic)
{
	kiln__store32((uint32_t *)(void *)(ioapic->page + WINDOW), read_register(ioapic));
}

static void write_register(struct kiln__ioapic *ioapic, uint32_t value)
{
	uint32_t *word = selected(ioapic);

	if (selector(ioapic) == ID)
		ioapic->id = value & ID_BITS;
	else if (word && selector(ioapic) % 2 == 0)
		*word = value & ~(ENTRY_STATUS | ENTRY_UNUSED);
	else if (word)
		*word = value & DESTINATION_BITS;
}

static void on_access(void *data, struct kiln__bus_access *access)
{
	struct kiln__ioapic *ioapic = data;

	pthread_mutex_lock(&ioapic->lock);
	if (!access->write) /* only where its memory could not be mapped */
		memcpy(&access->value, ioapic->page + access->offset, access->size);
	else if (access->offset == SELECT)
		ioapic->page[SELECT] = (uint8_t)access->value;
	else if (access->offset == WINDOW && access->size == 4)
		write_register(ioapic, (uint32_t)access->value);
	show(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
}

static void clear(struct kiln__ioapic *ioapic)
{
	ioapic->page[SELECT] = 0;
	ioapic->id = 0;
	for (unsigned i = 0; i < KILN__IOAPIC_PINS; i++) {
		ioapic->table[i][0] = ENTRY_MASKED;
		ioapic->table[i][1] = 0;
	}
}

void kiln__ioapic_init(struct kiln__ioapic *ioapic, struct kiln__bus *bus, kiln_hv_vm *vm,
		       uint8_t *page, unsigned pins)
{
	*ioapic = (struct kiln__ioapic){
		.vm = vm,
		.page = page,
		.pins = pins,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	clear(ioapic);
	kiln__bus_add_memory(bus, KILN__IOAPIC_BASE, KILN__IOAPIC_SIZE, on_access, ioapic);
}

void kiln__ioapic_reset(struct kiln__ioapic *ioapic)
{
	pthread_mutex_lock(&ioapic->lock);
	clear(ioapic);
	show(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
}

int kiln__ioapic_edge(struct kiln__ioapic *ioapic, unsigned gsi, kiln_error *err)
{
	const uint32_t *entry = ioapic->table[gsi - KILN__FIRST_GSI];
	uint64_t address;
	uint32_t low;

	pthread_mutex_lock(&ioapic->lock);
	low = entry[0];
	address = MESSAGE_ADDRESS | entry[1] >> DESTINATION_SHIFT |
		  (low & ENTRY_LOGICAL ? MESSAGE_LOGICAL : 0);
	pthread_mutex_unlock(&ioapic->lock);
	if (low & ENTRY_MASKED)
		return 0;
	return kiln_hv_vm_send_msi(ioapic->vm, address, low & (ENTRY_DELIVERY | ENTRY_VECTOR), err);
}
