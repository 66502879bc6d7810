/* SPDX-License-Identifier: Apache-2.0 */
#include "bus.h"

#include <stdlib.h>
#include <string.h>

static void add(struct kiln__bus_range *ranges, unsigned *count, struct kiln__bus_range range)
{
	if (*count == KILN__BUS_MAX_RANGES)
		abort(); /* a constant of this program's */
	ranges[(*count)++] = range;
}

void kiln__bus_add_ports(struct kiln__bus *bus, uint16_t base, uint16_t size, kiln__bus_fn fn,
			 void *data)
{
	add(bus->ports, &bus->port_count, (struct kiln__bus_range){base, size, fn, data});
}

void kiln__bus_add_memory(struct kiln__bus *bus, uint64_t base, uint64_t size, kiln__bus_fn fn,
			  void *data)
{
	add(bus->memory, &bus->memory_count, (struct kiln__bus_range){base, size, fn, data});
}

static void access_one(const struct kiln__bus_range *ranges, unsigned count, uint64_t address,
		       struct kiln__bus_access *access)
{
	for (unsigned i = 0; i < count; i++) {
		const struct kiln__bus_range *range = &ranges[i];

		access->offset = address - range->base;
		if (access->offset < range->size && access->size <= range->size - access->offset) {
			range->fn(range->data, access);
			return;
		}
	}
}

/* An access of any width, as one of a power of two or byte by byte. */
static void access_bytes(const struct kiln__bus_range *ranges, unsigned count, uint64_t address,
			 uint8_t *bytes, uint32_t size, bool write)
{
	uint32_t step = size <= 8 && (size & (size - 1)) == 0 ? size : 1;

	for (uint32_t at = 0; at < size; at += step) {
		struct kiln__bus_access access = {
			.size = (uint8_t)step,
			.write = write,
			.value = write ? 0 : UINT64_MAX,
		};

		if (write)
			memcpy(&access.value, bytes + at, step);
		access_one(ranges, count, address + at, &access);
		if (!write)
			memcpy(bytes + at, &access.value, step);
	}
}

void kiln__bus_exit(const struct kiln__bus *bus, const kiln_hv_exit *exit)
{
	const kiln_hv_access *access = &exit->access;
	bool port = exit->kind == KILN_HV_EXIT_PORT;

	for (uint32_t i = 0; i < access->count; i++)
		access_bytes(port ? bus->ports : bus->memory,
			     port ? bus->port_count : bus->memory_count, access->address,
			     access->data + (size_t)i * access->size, access->size, access->write);
}
