/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of squash.c where kiln-image is built without libsquashfs: no root image can be
 * begun, so nothing else here is ever called.
 */
#include "squash.h"

#include "err.h"

static int refuse(kiln_error *err)
{
	kiln__fail(err, KILN_ENOTSUP,
		   "this kiln-image was built without libsquashfs, and makes no root images");
	kiln__hint(err, "build it where squashfs-tools-ng is to be had, or boot a disk image");
	return KILN_ENOTSUP;
}

int squash_new(struct squash **ret, kiln_fd fd, const struct squash_options *options,
	       kiln_error *err)
{
	(void)ret;
	(void)fd;
	(void)options;
	return refuse(err);
}

void squash_free(struct squash *squash)
{
	(void)squash;
}

int squash_begin_file(struct squash *squash, struct inode *inode, kiln_error *err)
{
	(void)squash;
	(void)inode;
	return refuse(err);
}

int squash_append(struct squash *squash, const void *bytes, size_t len, kiln_error *err)
{
	(void)squash;
	(void)bytes;
	(void)len;
	return refuse(err);
}

int squash_end_file(struct squash *squash, struct tree *tree, kiln_error *err)
{
	(void)squash;
	(void)tree;
	return refuse(err);
}

void squash_free_file(struct inode *inode)
{
	(void)inode;
}

int squash_begin_xattrs(struct squash *squash, kiln_error *err)
{
	(void)squash;
	return refuse(err);
}

int squash_add_xattr(struct squash *squash, const char *name, const void *value, size_t size,
		     kiln_error *err)
{
	(void)squash;
	(void)name;
	(void)value;
	(void)size;
	return refuse(err);
}

int squash_end_xattrs(struct squash *squash, struct tree *tree, struct inode *inode,
		      kiln_error *err)
{
	(void)squash;
	(void)tree;
	(void)inode;
	return refuse(err);
}

int squash_finish(struct squash *squash, struct tree *tree, uint64_t *ret_size, kiln_error *err)
{
	(void)squash;
	(void)tree;
	(void)ret_size;
	return refuse(err);
}
