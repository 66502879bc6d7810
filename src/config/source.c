/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include "cleanup.h"
#include "err.h"
#include "os.h"

#include <stdlib.h>

#define CHUNK ((size_t)1 << 20)

int kiln__source_open(const struct kiln__source *source, kiln_fd *ret, uint64_t *ret_offset,
		      uint64_t *ret_length, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct kiln__os_stat st;
	int r;

	if (source->fd != KILN_FD_NONE)
		r = kiln__os_dup(&fd, source->fd, err);
	else
		r = kiln__os_open(&fd, source->path, KILN__OPEN_READ, err);
	if (r == 0)
		r = kiln__os_fstat(fd, &st, err);
	if (r < 0)
		return r;
	if (source->offset > st.size || source->length > st.size - source->offset) {
		kiln__fail(err, KILN_EINVAL, "the range lies outside the file (%llu bytes)",
			   (unsigned long long)st.size);
		kiln__hint(err, "correct its offset and length");
		return KILN_EINVAL;
	}
	*ret_offset = source->offset;
	*ret_length = source->length ? source->length : st.size - source->offset;
	*ret = kiln__take_fd(&fd);
	return 0;
}

int kiln__source_copy(kiln_fd from, uint64_t offset, uint64_t length, kiln_fd to, kiln_error *err)
{
	kiln__autofree char *bytes = malloc(CHUNK);
	int r = bytes ? 0 : kiln__fail_nomem(err);

	for (uint64_t done = 0; r == 0 && done < length;) {
		size_t want = length - done < CHUNK ? (size_t)(length - done) : CHUNK;
		ssize_t n = kiln__os_pread_full(from, bytes, want, offset + done, err);

		if (n < 0)
			return (int)n;
		if ((size_t)n < want)
			return kiln__fail(err, KILN_EFORMAT, "the range ends beyond its file");
		r = kiln__os_pwrite_full(to, bytes, want, done, err);
		done += want;
	}
	return r;
}

static const char *name_of(const struct kiln__source *source)
{
	return source->path ? source->path : "the disk";
}

int kiln__source_check_disk(const struct kiln__source *source, const char *key, kiln_error *err)
{
	struct kiln__os_stat st;
	int r = source->path ? kiln__os_stat(source->path, &st, NULL)
			     : kiln__os_fstat(source->fd, &st, NULL);

	if (r < 0 || st.is_file || st.is_block_device)
		return 0;
	kiln__fail(err, KILN_EINVAL, "%s: %s is %s, not a disk", key, name_of(source),
		   st.is_directory ? "a directory" : "neither a file nor a block device");
	kiln__hint(err, st.is_directory ? "--rootfs takes a directory as the root file system"
					: "name the file of a disk image, or a block device");
	return KILN_EINVAL;
}

int kiln__source_lock(kiln_fd fd, bool writable, const char *key, const struct kiln__source *source,
		      kiln_error *err)
{
	struct kiln__os_stat st;
	int r = kiln__os_fstat(fd, &st, err);

	if (r < 0 || !st.is_file)
		return r;
	r = writable ? kiln__os_try_lock(fd, err) : kiln__os_try_lock_shared(fd, err);
	if (r != KILN_EBUSY)
		return 0; /* a file system without locks has nothing to say against it */
	kiln__fail(err, r, "%s: %s is in use by another VM or command", key, name_of(source));
	kiln__hint(err, "\"kiln disk info\" tells by whom; only disks that nobody writes to can be "
			"shared");
	return r;
}
