/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File blocks are compressed by libsquashfs's worker threads and written by this one, so
 * memory is bounded by the backlog. Inodes follow all data, children before
 * their directory, because a directory's entries say where its inodes lie.
 * Format: Documentation/filesystems/squashfs.rst, section 3.
 */
#include "squash.h"

#include "cleanup.h"
#include "compressor.h"
#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqfs/block.h>
#include <sqfs/block_processor.h>
#include <sqfs/block_writer.h>
#include <sqfs/compressor.h>
#include <sqfs/dir_writer.h>
#include <sqfs/error.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>
#include <sqfs/super.h>
#include <sqfs/xattr_writer.h>

KILN__SYSCALLS(pread64, pwrite64, ftruncate);

/* A multiple of the file system's and virtio-blk's blocks. */
#define PADDING 4096

/* Blocks that wait for a worker or for their place, together. */
#define MAX_BACKLOG (16u << 20)

/* What libsquashfs keeps of each attribute besides its name and the value as text, twice as long.
 */
#define XATTR_EXTRA 200

/* A file's inode in memory, with what the allocator adds. */
#define FILE_EXTRA (sizeof(sqfs_inode_generic_t) + 32)

#define MAX_UNPACKED 4096 /* files whose inodes libsquashfs may still write to */

/* The image file as libsquashfs wants it; it keeps the reason of a failure. */
struct file {
	sqfs_file_t base;
	kiln_fd fd;
	uint64_t size;
	int os_errno;
};

struct squash {
	struct file file;
	sqfs_super_t super;
	uint32_t flags; /* for each file's blocks */
	sqfs_compressor_t *compressor;
	sqfs_compressor_t *expander; /* reads back what looks like a duplicate */
	sqfs_block_writer_t *blocks;
	sqfs_frag_table_t *fragments;
	sqfs_block_processor_t *processor;
	sqfs_id_table_t *ids;
	sqfs_xattr_writer_t *xattrs;
	size_t xattr_bytes;    /* of the set that is being made */
	uint32_t xattr_count;  /* sets so far */
	struct inode *current; /* file that is being written */
	struct inode *unpacked[MAX_UNPACKED];
	size_t unpacked_count;
	sqfs_meta_writer_t *inode_table;
	sqfs_meta_writer_t *dir_table;
	sqfs_dir_writer_t *dirs;
};

/* --- the file ------------------------------------------------------------------------ */

static int file_read_at(sqfs_file_t *base, sqfs_u64 offset, void *buffer, size_t size)
{
	struct file *file = (struct file *)base;
	char *bytes = buffer;

	while (size) {
		ssize_t got = pread(file->fd, bytes, size, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			file->os_errno = got ? errno : EIO;
			return SQFS_ERROR_IO;
		}
		bytes += got;
		offset += (uint64_t)got;
		size -= (size_t)got;
	}
	return 0;
}

static int file_write_at(sqfs_file_t *base, sqfs_u64 offset, const void *buffer, size_t size)
{
	struct file *file = (struct file *)base;
	const char *bytes = buffer;

	while (size) {
		ssize_t put = pwrite(file->fd, bytes, size, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			file->os_errno = put ? errno : ENOSPC;
			return SQFS_ERROR_IO;
		}
		bytes += put;
		offset += (uint64_t)put;
		size -= (size_t)put;
	}
	if (offset > file->size)
		file->size = offset;
	return 0;
}

static sqfs_u64 file_get_size(const sqfs_file_t *base)
{
	return ((const struct file *)base)->size;
}

static int file_truncate(sqfs_file_t *base, sqfs_u64 size)
{
	struct file *file = (struct file *)base;

	if (ftruncate(file->fd, (off_t)size)) {
		file->os_errno = errno;
		return SQFS_ERROR_IO;
	}
	file->size = size;
	return 0;
}

static void file_destroy(sqfs_object_t *object)
{
	(void)object; /* part of struct squash; the descriptor is borrowed */
}

/* --- errors -------------------------------------------------------------------------- */

static int fail(struct squash *squash, int code, const char *what, kiln_error *err)
{
	switch (code) {
	case SQFS_ERROR_ALLOC:
		return kiln__fail_nomem(err);
	case SQFS_ERROR_IO:
		return kiln__fail_errno(err, squash->file.os_errno ? squash->file.os_errno : EIO,
					"cannot write the root image (%s)", what);
	case SQFS_ERROR_OVERFLOW:
		return kiln__fail(err, KILN_EOVERFLOW,
				  "the root image is too large for squashfs (%s)", what);
	default:
		return kiln__fail(err, KILN_ESYSTEM, "libsquashfs failed with %d (%s)", code, what);
	}
}

/* --- making and freeing ---------------------------------------------------------------- */

static int make_compressors(struct squash *squash, const struct squash_options *options,
			    kiln_error *err)
{
	sqfs_compressor_config_t config;
	SQFS_COMPRESSOR id = options->compression == SQUASH_LZ4 ? SQFS_COMP_LZ4 : SQFS_COMP_ZSTD;
	int rc;

	rc = sqfs_compressor_config_init(&config, id, options->block_size, 0);
	if (!rc && id == SQFS_COMP_ZSTD)
		config.level = options->level;
	if (!rc)
		squash->compressor = compressor_new(&config, &rc);
	config.flags |= SQFS_COMP_FLAG_UNCOMPRESS;
	if (!rc)
		rc = sqfs_compressor_create(&config, &squash->expander);
	if (!rc)
		rc = sqfs_super_init(&squash->super, options->block_size, 0, id);
	if (!rc)
		rc = sqfs_super_write(&squash->super, &squash->file.base);
	if (rc)
		return fail(squash, rc, "compressor", err);
	rc = squash->compressor->write_options(squash->compressor, &squash->file.base);
	if (rc < 0)
		return fail(squash, rc, "compressor options", err);
	if (rc > 0)
		squash->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
	return 0;
}

static int make_writers(struct squash *squash, const struct squash_options *options,
			kiln_error *err)
{
	sqfs_block_processor_desc_t desc = {
		.size = sizeof(desc),
		.max_block_size = options->block_size,
		.num_workers = options->threads,
		.max_backlog = options->threads * 10,
		.cmp = squash->compressor,
		.file = &squash->file.base,
		.uncmp = squash->expander,
	};
	int rc;

	if (desc.max_backlog > MAX_BACKLOG / options->block_size)
		desc.max_backlog = MAX_BACKLOG / options->block_size;
	squash->blocks = sqfs_block_writer_create(&squash->file.base, PADDING, 0);
	squash->fragments = sqfs_frag_table_create(0);
	squash->ids = sqfs_id_table_create(0);
	squash->xattrs = sqfs_xattr_writer_create(0);
	squash->inode_table = sqfs_meta_writer_create(&squash->file.base, squash->compressor, 0);
	squash->dir_table = sqfs_meta_writer_create(&squash->file.base, squash->compressor,
						    SQFS_META_WRITER_KEEP_IN_MEMORY);
	if (!squash->blocks || !squash->fragments || !squash->ids || !squash->xattrs ||
	    !squash->inode_table || !squash->dir_table)
		return kiln__fail_nomem(err);
	squash->dirs = sqfs_dir_writer_create(squash->dir_table, 0);
	if (!squash->dirs)
		return kiln__fail_nomem(err);
	desc.wr = squash->blocks;
	desc.tbl = squash->fragments;
	rc = sqfs_block_processor_create_ex(&desc, &squash->processor);
	return rc ? fail(squash, rc, "worker threads", err) : 0;
}

int squash_new(struct squash **ret, kiln_fd fd, const struct squash_options *options,
	       kiln_error *err)
{
	struct squash *squash = calloc(1, sizeof(*squash));
	int rc;

	if (!squash)
		return kiln__fail_nomem(err);
	squash->file = (struct file){
		.base = {.base = {.destroy = file_destroy},
			 .read_at = file_read_at,
			 .write_at = file_write_at,
			 .get_size = file_get_size,
			 .truncate = file_truncate},
		.fd = fd,
	};
	if (options->compression == SQUASH_NONE)
		squash->flags = SQFS_BLK_DONT_COMPRESS;
	rc = make_compressors(squash, options, err);
	if (!rc)
		rc = make_writers(squash, options, err);
	if (rc) {
		squash_free(squash);
		return rc;
	}
	*ret = squash;
	return 0;
}

void squash_free(struct squash *squash)
{
	if (!squash)
		return;
	sqfs_destroy(squash->processor);
	sqfs_destroy(squash->dirs);
	sqfs_destroy(squash->dir_table);
	sqfs_destroy(squash->inode_table);
	sqfs_destroy(squash->xattrs);
	sqfs_destroy(squash->ids);
	sqfs_destroy(squash->fragments);
	sqfs_destroy(squash->blocks);
	sqfs_destroy(squash->expander);
	sqfs_destroy(squash->compressor);
	free(squash);
}

/* --- files and attributes ---------------------------------------------------------------- */

int squash_begin_file(struct squash *squash, struct inode *inode, kiln_error *err)
{
	int rc = sqfs_block_processor_begin_file(squash->processor, &inode->sqfs, NULL,
						 squash->flags);

	squash->current = inode;
	return rc ? fail(squash, rc, "file data", err) : 0;
}

int squash_append(struct squash *squash, const void *bytes, size_t len, kiln_error *err)
{
	int rc = sqfs_block_processor_append(squash->processor, bytes, len);

	return rc ? fail(squash, rc, "file data", err) : 0;
}

/*
 * Of most files in most images libsquashfs's inode says no more than a fragment and the place in
 * it, which an inode of ours has room for; those of the others stay, and count.
 */
static int pack(struct inode *inode, struct tree *tree, kiln_error *err)
{
	sqfs_inode_generic_t *sqfs = inode->sqfs;

	if (sqfs->base.type != SQFS_INODE_FILE || sqfs->payload_bytes_used)
		return tree_charge(tree, FILE_EXTRA + sqfs->payload_bytes_available, err);
	inode->size = sqfs->data.file.file_size;
	inode->fragment = sqfs->data.file.fragment_index;
	inode->fragment_offset = sqfs->data.file.fragment_offset;
	inode->packed = true;
	sqfs_free(sqfs);
	return 0;
}

/* Once their workers are done, and not before, libsquashfs leaves its inodes alone. */
static int pack_all(struct squash *squash, struct tree *tree, kiln_error *err)
{
	int rc = sqfs_block_processor_sync(squash->processor);

	if (rc)
		return fail(squash, rc, "file data", err);
	for (size_t i = 0; i < squash->unpacked_count && !rc; i++)
		rc = pack(squash->unpacked[i], tree, err);
	squash->unpacked_count = 0;
	return rc;
}

int squash_end_file(struct squash *squash, struct tree *tree, kiln_error *err)
{
	int rc = sqfs_block_processor_end_file(squash->processor);

	if (rc)
		return fail(squash, rc, "file data", err);
	squash->unpacked[squash->unpacked_count++] = squash->current;
	return squash->unpacked_count < MAX_UNPACKED ? 0 : pack_all(squash, tree, err);
}

void squash_free_file(struct inode *inode)
{
	if (!S_ISREG(inode->mode) || inode->packed)
		return;
	sqfs_free(inode->sqfs);
	inode->sqfs = NULL;
}

int squash_begin_xattrs(struct squash *squash, kiln_error *err)
{
	int rc = sqfs_xattr_writer_begin(squash->xattrs, 0);

	squash->xattr_bytes = 0;
	return rc ? fail(squash, rc, "extended attributes", err) : 0;
}

int squash_add_xattr(struct squash *squash, const char *name, const void *value, size_t size,
		     kiln_error *err)
{
	int rc = sqfs_xattr_writer_add(squash->xattrs, name, value, size);

	squash->xattr_bytes += 2 * size + strlen(name) + XATTR_EXTRA;
	if (rc == SQFS_ERROR_UNSUPPORTED)
		return 1;
	return rc ? fail(squash, rc, "extended attributes", err) : 0;
}

int squash_end_xattrs(struct squash *squash, struct tree *tree, struct inode *inode,
		      kiln_error *err)
{
	int rc = sqfs_xattr_writer_end(squash->xattrs, &inode->xattr);

	if (rc)
		return fail(squash, rc, "extended attributes", err);
	/* A set that another inode has already takes nothing. */
	if (inode->xattr == 0xffffffff || inode->xattr < squash->xattr_count)
		return 0;
	squash->xattr_count = inode->xattr + 1;
	return tree_charge(tree, squash->xattr_bytes, err);
}

/* --- the tree ------------------------------------------------------------------------------ */

static int make_dir(struct squash *squash, const struct inode *dir, sqfs_inode_generic_t **ret)
{
	sqfs_inode_generic_t *sqfs;
	int rc;

	rc = sqfs_dir_writer_begin(squash->dirs, 0);
	for (const struct entry *entry = dir->children; !rc && entry; entry = entry->sibling)
		rc = sqfs_dir_writer_add_entry(squash->dirs, entry->name, entry->inode->number,
					       entry->inode->reference, entry->inode->mode);
	if (!rc)
		rc = sqfs_dir_writer_end(squash->dirs);
	if (rc)
		return rc;
	/* The root is its own parent here; on disk it has none. */
	sqfs = sqfs_dir_writer_create_inode(squash->dirs, dir->links, dir->xattr,
					    dir->parent == dir ? 0 : dir->parent->number);
	if (!sqfs)
		return SQFS_ERROR_ALLOC;
	if (sqfs->base.type == SQFS_INODE_DIR)
		sqfs->data.dir.nlink = dir->links;
	else
		sqfs->data.dir_ext.nlink = dir->links;
	*ret = sqfs;
	return 0;
}

static sqfs_inode_generic_t *unpack(const struct inode *inode)
{
	sqfs_inode_generic_t *sqfs = calloc(1, sizeof(*sqfs));

	if (!sqfs)
		return NULL;
	sqfs->base.type = SQFS_INODE_FILE;
	sqfs->data.file.file_size = (sqfs_u32)inode->size;
	sqfs->data.file.fragment_index = inode->fragment;
	sqfs->data.file.fragment_offset = inode->fragment_offset;
	return sqfs;
}

static int make_file(struct inode *inode, sqfs_inode_generic_t **ret)
{
	sqfs_inode_generic_t *sqfs = inode->packed ? unpack(inode) : inode->sqfs;
	int rc = 0;

	if (!sqfs)
		return SQFS_ERROR_ALLOC;
	if (!inode->packed)
		inode->sqfs = NULL;
	if (inode->links > 1 || inode->xattr != 0xffffffff)
		rc = sqfs_inode_make_extended(sqfs);
	if (sqfs->base.type == SQFS_INODE_EXT_FILE)
		sqfs->data.file_ext.nlink = inode->links;
	*ret = sqfs;
	return rc;
}

static int make_special(const struct inode *inode, sqfs_inode_generic_t **ret)
{
	size_t len = S_ISLNK(inode->mode) ? strlen(inode->target) : 0;
	sqfs_inode_generic_t *sqfs = calloc(1, sizeof(*sqfs) + len);

	if (!sqfs)
		return SQFS_ERROR_ALLOC;
	switch (inode->mode & S_IFMT) {
	case S_IFLNK:
		sqfs->base.type = SQFS_INODE_SLINK;
		sqfs->data.slink.nlink = inode->links;
		sqfs->data.slink.target_size = (uint32_t)len;
		memcpy(sqfs->extra, inode->target, len);
		break;
	case S_IFBLK:
	case S_IFCHR:
		sqfs->base.type = S_ISBLK(inode->mode) ? SQFS_INODE_BDEV : SQFS_INODE_CDEV;
		sqfs->data.dev.nlink = inode->links;
		sqfs->data.dev.devno = inode->device;
		break;
	default: /* a FIFO: readers take nothing else */
		sqfs->base.type = SQFS_INODE_FIFO;
		sqfs->data.ipc.nlink = inode->links;
	}
	*ret = sqfs;
	return 0;
}

static int write_inode(struct squash *squash, struct inode *inode)
{
	sqfs_inode_generic_t *sqfs = NULL;
	sqfs_u32 offset;
	sqfs_u64 block;
	int rc;

	if (S_ISDIR(inode->mode))
		rc = make_dir(squash, inode, &sqfs);
	else if (S_ISREG(inode->mode))
		rc = make_file(inode, &sqfs);
	else
		rc = make_special(inode, &sqfs);
	if (!rc && inode->xattr != 0xffffffff)
		rc = sqfs_inode_set_xattr_index(sqfs, inode->xattr);
	if (!rc)
		rc = sqfs_id_table_id_to_index(squash->ids, inode->uid, &sqfs->base.uid_idx);
	if (!rc)
		rc = sqfs_id_table_id_to_index(squash->ids, inode->gid, &sqfs->base.gid_idx);
	if (!rc) {
		sqfs->base.mode = inode->mode;
		sqfs->base.mod_time = inode->mtime;
		sqfs->base.inode_number = inode->number;
		/* An inode's reference: its block's place in the table, then the offset in it. */
		sqfs_meta_writer_get_position(squash->inode_table, &block, &offset);
		inode->reference = block << 16 | offset;
		rc = sqfs_meta_writer_write_inode(squash->inode_table, sqfs);
	}
	sqfs_free(sqfs);
	return rc;
}

static int write_tree(struct squash *squash, struct inode **inodes, size_t count)
{
	int rc = 0;

	squash->super.inode_table_start = squash->file.size;
	for (size_t i = 0; i < count && !rc; i++)
		rc = write_inode(squash, inodes[i]);
	if (!rc)
		rc = sqfs_meta_writer_flush(squash->inode_table);
	if (!rc)
		rc = sqfs_meta_writer_flush(squash->dir_table);
	squash->super.root_inode_ref = inodes[count - 1]->reference;
	squash->super.inode_count = (uint32_t)count;
	squash->super.directory_table_start = squash->file.size;
	return rc ? rc : sqfs_meta_write_write_to_file(squash->dir_table);
}

static int write_tables(struct squash *squash)
{
	sqfs_file_t *file = &squash->file.base;
	sqfs_super_t *super = &squash->super;
	int rc;

	rc = sqfs_frag_table_write(squash->fragments, file, super, squash->compressor);
	if (!rc)
		rc = sqfs_id_table_write(squash->ids, file, super, squash->compressor);
	if (!rc)
		rc = sqfs_xattr_writer_flush(squash->xattrs, file, super, squash->compressor);
	super->bytes_used = squash->file.size;
	if (!rc)
		rc = sqfs_super_write(super, file);
	/* A block device's size is a multiple of its blocks. */
	if (!rc)
		rc = file_truncate(file, (squash->file.size + PADDING - 1) / PADDING * PADDING);
	return rc;
}

int squash_finish(struct squash *squash, struct tree *tree, uint64_t *ret_size, kiln_error *err)
{
	kiln__autofree struct inode **inodes = NULL;
	size_t count;
	int rc;

	rc = sqfs_block_processor_finish(squash->processor);
	if (rc)
		return fail(squash, rc, "file data", err);
	rc = tree_order(tree, &inodes, &count, err);
	if (rc)
		return rc;
	rc = write_tree(squash, inodes, count);
	if (rc)
		return fail(squash, rc, "inodes and directories", err);
	rc = write_tables(squash);
	if (rc)
		return fail(squash, rc, "tables", err);
	*ret_size = squash->file.size;
	return 0;
}
