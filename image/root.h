/* SPDX-License-Identifier: Apache-2.0 */
/* What root.c, fromtar.c and fromdir.c share: one root image on its way. */
#ifndef KILN_IMAGE_ROOT_PROGRAM_H
#define KILN_IMAGE_ROOT_PROGRAM_H

#include <kiln/error.h>

#include "fd.h"
#include "input.h"
#include "squash.h"
#include "tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>
#include <stdbool.h>

struct making {
	const char *name; /* of the source, for messages */
	struct tree tree;
	struct squash *squash;
	uint64_t max_bytes; /* of all files' contents together */
	uint64_t bytes;
	unsigned sockets; /* left out */
	unsigned xattrs;  /* left out: squashfs has no place for them */
	unsigned acls;    /* left out */
	bool layered;     /* of an image: no trace of an overlay file system may be in it */
};

/* What the image lacks, for the user to be told. A new reference. */
json_t *root_notes(const struct making *making);

/*
 * One entry of a tar archive, in three steps: a new inode that is in no directory yet, with what
 * its header says; its extended attributes; the contents of a regular file, at which @archive
 * stands.
 */
int root_new_inode(struct making *making, struct archive_entry *entry, const char *path,
		   struct inode **ret, kiln_error *err);
int root_copy_xattrs(struct making *making, struct archive_entry *entry, const char *path,
		     struct inode *inode, kiln_error *err);
int root_copy_file(struct making *making, struct archive *archive, struct archive_entry *entry,
		   const char *path, struct inode *inode, kiln_error *err);

/* Gathers a tar archive, compressed or not, read once from start to end. */
int root_from_tar(struct making *making, struct input *input, kiln_error *err);

/* Gathers a directory. Other file systems mounted in it are left out; their mount points are empty.
 */
int root_from_dir(struct making *making, kiln_fd dir, kiln_error *err);

/*
 * The squashfs encoding of a device number, which is Linux's own of 32 bits. KILN_EFORMAT beyond 12
 * and 20 bits.
 */
int root_device(const char *path, uint64_t major, uint64_t minor, uint32_t *ret, kiln_error *err);

/* Counts @len bytes more of contents. KILN_EOVERFLOW beyond the limit. */
int root_count(struct making *making, const char *path, uint64_t len, kiln_error *err);

/* Appends @len zero bytes to the file that is being written. */
int root_append_hole(struct making *making, uint64_t len, kiln_error *err);

/* Seconds since 1970 as squashfs keeps them: 32 bits, unsigned. */
uint32_t root_time(int64_t seconds);

#endif
