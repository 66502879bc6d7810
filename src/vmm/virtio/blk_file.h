/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file behind a disk: opened, measured, and locked against use by two.
 *
 * Who writes to a disk is alone with it; readers share it. The lock is on the disk's own range, so
 * that several disks can lie in one file: an open-file-description lock (fcntl(2)), placed
 * beyond all contents, at 2^62 + offset. A disk that is a whole file also keeps to the bytes by
 * which QEMU says what it does with an image (100 + n: it does n, 200 + n: nobody else may; n = 1
 * is writing), so that neither takes what the other has. A disk in a file on a file
 * system without locks is not protected.
 *
 * The locks are held by a second opening of the file: an io_uring keeps its file for some time
 * after its process has ended, when all it had under way is long over.
 */
#ifndef KILN_VMM_BLK_FILE_H
#define KILN_VMM_BLK_FILE_H

#include "blk.h"

struct kiln__blk_file {
	kiln_fd fd;
	kiln_fd lock; /* or KILN_FD_NONE: then fd holds the locks */
	uint64_t offset;
	uint64_t length;         /* of the disk: whole blocks */
	uint32_t block;          /* the logical block: what the guest must align to */
	uint32_t physical_block; /* what is best aligned to; at least block */
	bool direct;             /* opened with O_DIRECT: memory is to be aligned to block, too */
};

/* *ret is written whole on success, and done with by kiln__blk_file_close(). */
int kiln__blk_file_open(struct kiln__blk_file *ret, const struct kiln__blk_options *options,
			kiln_error *err);
void kiln__blk_file_close(struct kiln__blk_file *file);

#endif
