/* SPDX-License-Identifier: Apache-2.0 */
#include "msix.h"

#include "le.h"

#include <string.h>

/* An entry (6.8.2.6 to 6.8.2.9). */
struct entry {
	uint32_t address_low;
	uint32_t address_high;
	uint32_t data;
	uint32_t control;
};

#define CONTROL_MASKED 0x1u

#define MESSAGE_ENABLE 0x8000u
#define MESSAGE_MASK   0x4000u

static struct entry *entry_of(const struct kiln__msix *msix, unsigned vector)
{
	return (struct entry *)(void *)(msix->table + (size_t)vector * KILN__MSIX_ENTRY);
}

void kiln__msix_init(struct kiln__msix *msix, kiln_hv_vm *vm, uint8_t *table, uint8_t *pending,
		     unsigned count)
{
	*msix = (struct kiln__msix){.vm = vm, .table = table, .pending = pending, .count = count};
	kiln__msix_reset(msix);
}

void kiln__msix_reset(struct kiln__msix *msix)
{
	memset(msix->table, 0, (size_t)msix->count * KILN__MSIX_ENTRY);
	memset(msix->pending, 0, (msix->count + 7) / 8);
	for (unsigned i = 0; i < msix->count; i++)
		kiln__store32(&entry_of(msix, i)->control, CONTROL_MASKED);
	msix->enabled = msix->masked = false;
}

static bool is_masked(const struct kiln__msix *msix, unsigned vector)
{
	return msix->masked || kiln__load32(&entry_of(msix, vector)->control) & CONTROL_MASKED;
}

bool kiln__msix_message(const struct kiln__msix *msix, unsigned vector, uint64_t *ret_address,
			uint32_t *ret_data)
{
	const struct entry *entry;

	if (!msix->enabled || vector >= msix->count || is_masked(msix, vector))
		return false;
	entry = entry_of(msix, vector);
	*ret_address = kiln__load32(&entry->address_low) |
		       (uint64_t)kiln__load32(&entry->address_high) << 32;
	*ret_data = kiln__load32(&entry->data);
	return true;
}

/* A message that reaches no processor is the guest's own fault, and lost. */
static bool send(const struct kiln__msix *msix, unsigned vector)
{
	uint64_t address;
	uint32_t data;

	if (!kiln__msix_message(msix, vector, &address, &data))
		return false;
	kiln_hv_vm_send_msi(msix->vm, address, data, NULL);
	return true;
}

/* What has waited for the mask to go. */
static void flush(struct kiln__msix *msix, unsigned vector)
{
	uint8_t bit = (uint8_t)(1u << vector % 8);

	if (msix->pending[vector / 8] & bit && send(msix, vector))
		msix->pending[vector / 8] &= (uint8_t)~bit;
}

void kiln__msix_write(struct kiln__msix *msix, uint64_t offset, uint8_t size, uint64_t value)
{
	if (size < 4 || offset % size) /* 6.8.2: four or eight bytes, aligned */
		return;
	for (unsigned done = 0; done < size; done += 4) {
		uint32_t *at = (uint32_t *)(void *)(msix->table + offset + done);

		kiln__store32(at, (uint32_t)(value >> 8 * done));
	}
	flush(msix, (unsigned)(offset / KILN__MSIX_ENTRY));
}

void kiln__msix_control(struct kiln__msix *msix, uint16_t control)
{
	msix->enabled = control & MESSAGE_ENABLE;
	msix->masked = control & MESSAGE_MASK;
	for (unsigned i = 0; msix->enabled && i < msix->count; i++)
		flush(msix, i);
}

void kiln__msix_fire(struct kiln__msix *msix, unsigned vector)
{
	if (msix->enabled && vector < msix->count && !send(msix, vector))
		msix->pending[vector / 8] |= (uint8_t)(1u << vector % 8);
}
