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
#define MAX_READS      4

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

/* Each word once, and in this order: a guest may write meanwhile. */
static struct entry read_entry(const struct entry *from)
{
	struct entry entry;

	entry.control = __atomic_load_n(&from->control, __ATOMIC_ACQUIRE);
	entry.address_low = __atomic_load_n(&from->address_low, __ATOMIC_ACQUIRE);
	entry.address_high = __atomic_load_n(&from->address_high, __ATOMIC_ACQUIRE);
	entry.data = __atomic_load_n(&from->data, __ATOMIC_ACQUIRE);
	return entry;
}

/*
 * False: it is masked. A driver masks a vector for as long as it changes its message (6.8.3.5), so
 * one that is found the same twice is whole; whoever changes it all the time counts as masked.
 */
static bool read_unmasked(const struct kiln__msix *msix, unsigned vector, struct entry *ret)
{
	struct entry again;

	if (msix->masked)
		return false;
	*ret = read_entry(entry_of(msix, vector));
	for (unsigned i = 0; i < MAX_READS; i++) {
		if (kiln__load32(&ret->control) & CONTROL_MASKED)
			return false;
		again = read_entry(entry_of(msix, vector));
		if (memcmp(ret, &again, sizeof(again)) == 0)
			return true;
		*ret = again;
	}
	return false;
}

bool kiln__msix_message(const struct kiln__msix *msix, unsigned vector, uint64_t *ret_address,
			uint32_t *ret_data)
{
	struct entry entry;

	if (!msix->enabled || vector >= msix->count || !read_unmasked(msix, vector, &entry))
		return false;
	*ret_address = kiln__load32(&entry.address_low) |
		       (uint64_t)kiln__load32(&entry.address_high) << 32;
	*ret_data = kiln__load32(&entry.data);
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
	kiln__msix_retry(msix);
}

bool kiln__msix_fire(struct kiln__msix *msix, unsigned vector)
{
	if (!msix->enabled || vector >= msix->count || send(msix, vector))
		return true;
	msix->pending[vector / 8] |= (uint8_t)(1u << vector % 8);
	return false;
}

void kiln__msix_retry(struct kiln__msix *msix)
{
	for (unsigned i = 0; msix->enabled && i < msix->count; i++)
		flush(msix, i);
}
