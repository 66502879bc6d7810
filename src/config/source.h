/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a source, for who needs a file of its own: a range is copied out of its file. */
#ifndef KILN_CONFIG_SOURCE_H
#define KILN_CONFIG_SOURCE_H

#include "spec.h"

#include <kiln/error.h>

/* Whether the source is only a part of its file. */
static inline bool kiln__source_is_range(const struct kiln__source *source)
{
	return source->offset || source->length;
}

/*
 * Opens @source for reading: a descriptor of the whole file, the caller's, and where in
 * it the bytes lie. KILN_EINVAL if they lie outside.
 */
int kiln__source_open(const struct kiln__source *source, kiln_fd *ret, uint64_t *ret_offset,
		      uint64_t *ret_length, kiln_error *err);

/*
 * Refuses as a disk what is neither a file nor a block device (KILN_EINVAL): to be asked before
 * it is opened, since opening a FIFO waits. What cannot be looked at is for who opens it to tell.
 */
int kiln__source_check_disk(const struct kiln__source *source, const char *key, kiln_error *err);

/*
 * Locks an open disk for as long as the descriptor and its duplicates live, those of a VMM's
 * process too: for itself alone, or with others that only read. KILN_EBUSY says that another VM has
 * it;
 * @key and @source are for the message. Block devices are not locked: udev locks them at times, and
 * whoever mounts them does not.
 */
int kiln__source_lock(kiln_fd fd, bool writable, const char *key, const struct kiln__source *source,
		      kiln_error *err);

/* Copies @length bytes at @offset of @from to the beginning of @to. KILN_EFORMAT if there are
 * fewer. */
int kiln__source_copy(kiln_fd from, uint64_t offset, uint64_t length, kiln_fd to, kiln_error *err);

#endif
