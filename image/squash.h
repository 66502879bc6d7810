/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a squashfs image: file data as it comes, then the tree. Over libsquashfs. */
#ifndef KILN_IMAGE_SQUASH_H
#define KILN_IMAGE_SQUASH_H

#include <kiln/error.h>

#include "fd.h"
#include "tree.h"

#include <stdbool.h>

enum squash_compression {
	SQUASH_NONE,
	SQUASH_LZ4,
	SQUASH_ZSTD,
};

struct squash_options {
	enum squash_compression compression;
	unsigned level;      /* of zstd */
	unsigned block_size; /* a power of two, 4 KiB to 1 MiB */
	unsigned threads;
};

struct squash;

/* Starts an image in the empty file @fd, which is borrowed, readable and writable. */
int squash_new(struct squash **ret, kiln_fd fd, const struct squash_options *options,
	       kiln_error *err);
void squash_free(struct squash *squash); /* NULL is allowed */

/*
 * The bytes of one regular file: begin, any number of appends, end. @inode must live until
 * squash_finish(). Long runs of zero bytes take no room in the image. What is kept of it in memory
 * is counted in its @tree.
 */
int squash_begin_file(struct squash *squash, struct inode *inode, kiln_error *err);
int squash_append(struct squash *squash, const void *bytes, size_t len, kiln_error *err);
int squash_end_file(struct squash *squash, struct tree *tree, kiln_error *err);
void squash_free_file(struct inode *inode); /* what it holds of libsquashfs's, if anything */

/*
 * The extended attributes of one inode: begin, add, end, which sets inode->xattr and counts in the
 * @tree what is kept of them in memory.
 * squash_add_xattr() returns 1, and adds nothing, for a name that squashfs cannot keep
 * (it keeps user.*, trusted.* and security.*).
 */
int squash_begin_xattrs(struct squash *squash, kiln_error *err);
int squash_add_xattr(struct squash *squash, const char *name, const void *value, size_t size,
		     kiln_error *err);
int squash_end_xattrs(struct squash *squash, struct tree *tree, struct inode *inode,
		      kiln_error *err);

/*
 * Writes inodes, directories and tables. The image is complete then; @ret_size is its size in
 * bytes.
 */
int squash_finish(struct squash *squash, struct tree *tree, uint64_t *ret_size, kiln_error *err);

#endif
