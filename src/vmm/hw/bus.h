/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who answers at a guest-physical address or an I/O port: a short table, filled before the guest
 * runs and constant from then on.
 *
 * Handlers run on vCPU threads, several at once: what they touch they lock themselves. Offsets are
 * within the range, sizes 1, 2, 4 or 8 (ports: up to 4) and the access does not cross the range's
 * end: what does is answered here, as what nobody claims is: reads give ones, writes go nowhere.
 */
#ifndef KILN_VMM_BUS_H
#define KILN_VMM_BUS_H

#include <kiln/hv.h>

#include <stdbool.h>
#include <stdint.h>

#define KILN__BUS_MAX_RANGES 8

/* One access. */
struct kiln__bus_access {
	uint64_t offset; /* from the range's begin */
	uint8_t size;
	bool write;
	uint64_t value; /* written, or to be filled: all ones if left alone */
};

typedef void (*kiln__bus_fn)(void *data, struct kiln__bus_access *access);

struct kiln__bus_range {
	uint64_t base;
	uint64_t size;
	kiln__bus_fn fn;
	void *data;
};

/* All zero is an empty bus. */
struct kiln__bus {
	struct kiln__bus_range ports[KILN__BUS_MAX_RANGES];
	struct kiln__bus_range memory[KILN__BUS_MAX_RANGES];
	unsigned port_count;
	unsigned memory_count;
};

/* Claims a range, which must overlap no other: a fault of the caller's if there are too many. */
void kiln__bus_add_ports(struct kiln__bus *bus, uint16_t base, uint16_t size, kiln__bus_fn fn,
			 void *data);
void kiln__bus_add_memory(struct kiln__bus *bus, uint64_t base, uint64_t size, kiln__bus_fn fn,
			  void *data);

/* Carries out a PORT or MMIO exit. Any vCPU thread. */
void kiln__bus_exit(const struct kiln__bus *bus, const kiln_hv_exit *exit);

#endif
