/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's RAM: one mapping below the hole that layout.h leaves for devices and one from 4 GiB
 * up, so that a hypervisor has two ranges of it to know. Nothing is touched before somebody
 * writes; guard pages lie around each.
 *
 * Behind a range are pages of three kinds, which only this file tells apart:
 *
 *	anonymous   private to this VM, zero at first
 *	a file's    a private map over part of it: shared with all who map the file until the guest
 *	            writes there, which makes an anonymous copy of that page
 *	shared      all of it in one memory file, for vhost-user back ends in other processes. Files
 *	            are then copied: a private map would not be seen by those
 *
 * A file that is cut short while it is mapped kills us at the next access (SIGBUS). So only
 * those are mapped whose owner vouches that nobody writes them (kiln's cache, whose files are
 * never changed once they have appeared); all others are copied.
 *
 * Threads: one at a time changes what lies where (mapping, discarding); accesses to the memory may
 * go on meanwhile, on any thread, those of the guest included.
 */
#ifndef KILN_VMM_RAM_H
#define KILN_VMM_RAM_H

#include "fd.h"
#include "gmem.h"

#define KILN__RAM_PAGE 4096u
#define KILN__RAM_MIN  (16u << 20)

struct kiln__ram;

/*
 * @size bytes, whole pages, at least KILN__RAM_MIN. KILN_ENOMEM: more than this process may map.
 */
int kiln__ram_new(struct kiln__ram **ret, uint64_t size, bool shared, kiln_error *err);
void kiln__ram_free(struct kiln__ram *ram); /* after all who use the memory; NULL is allowed */

/* The one or two ranges: for devices, and for a hypervisor to map. They never change. */
const struct kiln__gmem *kiln__ram_gmem(const struct kiln__ram *ram);

uint64_t kiln__ram_size(const struct kiln__ram *ram);

/* Where RAM below the hole ends. */
uint64_t kiln__ram_low_end(const struct kiln__ram *ram);

/*
 * The memory file of shared RAM, else KILN_FD_NONE: borrowed. The range from 4 GiB lies in it right
 * behind the one below the hole.
 */
kiln_fd kiln__ram_memfd(const struct kiln__ram *ram);

/* A range of an open file, whose size has been looked up, once. */
struct kiln__ram_file {
	const char *name; /* what messages call it, as in "the initramfs" */
	kiln_fd fd;       /* borrowed, for the time of a call */
	uint64_t size;    /* of the whole file */
	uint64_t start;   /* of the range; offsets below count from here */
	uint64_t len;
	bool immutable; /* nobody writes or shortens it while it is mapped */
};

/* @len: 0 takes all from @start. KILN_EFORMAT if it is no regular file, is empty or ends sooner. */
int kiln__ram_file_init(struct kiln__ram_file *ret, const char *name, kiln_fd fd, uint64_t start,
			uint64_t len, bool immutable, kiln_error *err);

/*
 * Puts @len bytes from @offset of @file at @gpa, and zeros after them to the page's end: maps an
 * immutable file into private RAM, else copies. @gpa and the place in the file are multiples of the
 * page size (KILN_EINVAL). KILN_EFORMAT if the file's range ends sooner, KILN_EOVERFLOW if that is
 * not all RAM, KILN_EEXIST if part of it is a file's already.
 */
int kiln__ram_map_file(struct kiln__ram *ram, uint64_t gpa, const struct kiln__ram_file *file,
		       uint64_t offset, uint64_t len, kiln_error *err);

/* Copies, from and to any address, and nothing beyond @len. Errors as above. */
int kiln__ram_copy_file(struct kiln__ram *ram, uint64_t gpa, const struct kiln__ram_file *file,
			uint64_t offset, uint64_t len, kiln_error *err);

/*
 * Has the memory of whole pages there now, in one go: for what a guest is known to write, page by
 * page, where no large page can be. A host that cannot (before Linux 5.14) does so at each first
 * touch.
 */
void kiln__ram_populate(struct kiln__ram *ram, uint64_t gpa, uint64_t len);

/*
 * Gives the whole pages within [@gpa, @gpa + @len) back to the host: they read as zero and cost
 * nothing until they are written again. KILN_EOVERFLOW if that is not all RAM in one range. Where a
 * guest has cut a file's map into more pieces than are kept count of, its pages there read as the
 * file's again instead.
 */
int kiln__ram_discard(struct kiln__ram *ram, uint64_t gpa, uint64_t len, kiln_error *err);

#endif
