/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as the devices see it: a list of regions, each a range of guest
 * physical addresses and the host memory behind it. Addresses and lengths come
 * from the guest, so every access is checked here and nowhere else: against
 * wrap-around, against holes, and against the ends of regions. An access may
 * span regions that touch, for the guest does not know where the host cut.
 *
 * The table borrows the host memory; whoever maps it unmaps it after the table
 * has been emptied. Guest memory is shared with running vCPUs: whatever is read
 * from it is read once, into memory of the host's own, before it is judged.
 *
 * Looking up is allowed from any thread while nobody changes the table.
 */
#ifndef KILN_VMM_GMEM_H
#define KILN_VMM_GMEM_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KILN__GMEM_MAX_REGIONS 32

struct kiln__gmem_region {
	uint64_t gpa;        /* its first guest physical address */
	uint64_t size;       /* in bytes; never 0 */
	unsigned char *host; /* where it lies in this process */
};

/* All zero is an empty table. The regions are sorted by address and do not overlap. */
struct kiln__gmem {
	struct kiln__gmem_region regions[KILN__GMEM_MAX_REGIONS];
	unsigned count;
};

/*
 * Adds a region. KILN_EINVAL if it is empty, wraps around the end of the address
 * space or overlaps another; KILN_ENOSPC if the table is full.
 */
int kiln__gmem_add(struct kiln__gmem *mem, uint64_t gpa, uint64_t size, void *host,
		   kiln_error *err);

/*
 * The host memory at @gpa: sets *ret_host and returns how many of the @len bytes
 * lie there in one piece, 0 if @gpa is in no region (or @len is 0).
 */
size_t kiln__gmem_run(const struct kiln__gmem *mem, uint64_t gpa, size_t len, void **ret_host);

/* Host memory of @len bytes in one piece at @gpa, or NULL. */
void *kiln__gmem_ptr(const struct kiln__gmem *mem, uint64_t gpa, size_t len);

/* The guest physical address of host memory in the table; false if it is in no region. */
bool kiln__gmem_gpa(const struct kiln__gmem *mem, const void *host, uint64_t *ret_gpa);

/* Whether all of [@gpa, @gpa + @len) is memory. */
bool kiln__gmem_contains(const struct kiln__gmem *mem, uint64_t gpa, uint64_t len);

/* Copies out of and into guest memory: all of it and 0, or nothing and KILN_EOVERFLOW. */
int kiln__gmem_read(const struct kiln__gmem *mem, uint64_t gpa, void *bytes, size_t len);
int kiln__gmem_write(const struct kiln__gmem *mem, uint64_t gpa, const void *bytes, size_t len);

#endif
