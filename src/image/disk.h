/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images as files: made, cloned, grown. Raw ones; qcow2 as a base to clone, read by qemu-img
 * in a process that has no rights but two descriptors, if it is installed.
 *
 * What is made appears whole, by a link to a file without a name, or not at all: also when this
 * process is killed, or the disk is full. A disk in use is locked (kiln__source_lock()), and these
 * functions lock it for the time they take. Any thread; they block.
 */
#ifndef KILN_IMAGE_DISK_H
#define KILN_IMAGE_DISK_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stdint.h>

#define KILN__DISK_MAX (UINT64_C(64) << 40)

struct kiln__image_info {
	const char *format; /* "raw", "qcow2" ...; static */
	uint64_t size;      /* what a guest would see */
	uint64_t allocated; /* what it takes on the host's disk */
	bool locked;        /* somebody writes to it */
	bool readable;      /* kiln can clone it: raw, or qcow2 that stands alone */
};

/* A look at its first bytes. Follows nothing that stands in them. */
int kiln__disk_info(const char *path, struct kiln__image_info *ret, kiln_error *err);

/* An empty raw disk, sparse, mode 0600. KILN_EEXIST if @path is there. */
int kiln__disk_create(const char *path, uint64_t size, kiln_error *err);

/*
 * A raw copy of @from as the new file @to: sharing its blocks where the file system can
 * (*ret_shared), else of what is not a hole. With @size (0: as it is) grown to that. KILN_EBUSY:
 * somebody writes to
 * @from; KILN_EEXIST: @to is there; KILN_ENOTSUP: a format that kiln cannot read, with why.
 */
int kiln__disk_clone(const char *from, const char *to, uint64_t size, bool *ret_shared,
		     kiln_error *err);

/* The same of a file that is raw, whatever its bytes look like: what a guest wrote decides nothing.
 */
int kiln__disk_copy(const char *from, const char *to, kiln_error *err);

/* Gives a raw disk another size; a smaller one only with @force, for what lies beyond is lost. */
int kiln__disk_resize(const char *path, uint64_t size, bool force, kiln_error *err);

#endif
