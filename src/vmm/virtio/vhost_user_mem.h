/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that a vhost-user front-end shares: file descriptors, mapped here.
 *
 * A front-end that shortened a file after we mapped it would make us die of SIGBUS at the
 * next access. So the file's size is checked, and only files are taken that can no
 * longer shrink: F_SEAL_SHRINK, which QEMU's memory-backend-memfd sets unless told
 * otherwise.
 */
#ifndef KILN_VMM_VHOST_USER_MEM_H
#define KILN_VMM_VHOST_USER_MEM_H

#include "fd.h"
#include "gmem.h"
#include "vhost_user_msg.h"

struct kiln__vu_map {
	uint64_t gpa;
	uint64_t size;
	uint64_t user_addr;
	void *mapping; /* what mmap gave: may begin before the region, at a page */
	size_t mapping_len;
};

/* All zero is no memory. */
struct kiln__vu_mem {
	struct kiln__gmem gmem;
	struct kiln__vu_map maps[KILN__VU_MAX_REGIONS];
	unsigned count;
};

/*
 * Maps a table of regions, one descriptor each (borrowed). *ret is written whole
 * and is to be unmapped later; untouched on failure.
 */
int kiln__vu_mem_map(struct kiln__vu_mem *ret, const struct kiln__vu_region *regions,
		     const kiln_fd *fds, unsigned count, kiln_error *err);
void kiln__vu_mem_unmap(struct kiln__vu_mem *mem);

/* The guest physical address behind one of the front-end's own. KILN_EINVAL if there is none. */
int kiln__vu_mem_gpa(const struct kiln__vu_mem *mem, uint64_t user_addr, uint64_t *ret_gpa);

#endif
