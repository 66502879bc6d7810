/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system's tree in memory, all but the bytes of its files: what a tar
 * archive or a directory is gathered into before inodes and directories can be written.
 *
 * It is what an image's making takes memory for, and an archive of some megabytes may have a
 * million entries. So inodes are small, names and entries lie one behind the other, nothing is
 * given back before the end, and all of it is counted.
 *
 * Names come from archives that nobody vouches for: a path must be relative, have no
 * "..", and lead through directories only, never through a symbolic link.
 */
#ifndef KILN_IMAGE_TREE_H
#define KILN_IMAGE_TREE_H

#include <kiln/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry;
struct sqfs_inode_generic_t;

struct inode {
	union {                        /* by its type */
		struct {               /* a file */
			uint64_t size; /* of a layer's: what its entry says */
			union {
				/* libsquashfs's, as long as that may write to it; or, if packed: */
				struct sqfs_inode_generic_t *sqfs;
				struct {
					uint32_t fragment;
					uint32_t fragment_offset;
				};
			};
		};
		struct {                        /* a directory */
			struct entry *children; /* unordered */
			struct inode *parent;   /* the root's is itself */
		};
		const char *target; /* a symbolic link */
		uint32_t device;    /* a device node, as squashfs encodes it */
	};
	uint64_t reference; /* where squash.c wrote it */
	uint16_t mode;      /* type and permissions; the type never changes */
	uint8_t layer;      /* of an image's layers, which one describes it, */
	bool unread : 1;    /* with something to be read there: contents, attributes */
	bool implied : 1;   /* a directory that no entry has described yet */
	bool kept : 1;      /* an entry leads to it */
	bool packed : 1;    /* a file whose data are written: all of them lie in a fragment */
	uint32_t position;  /* by which of its layer's entries it is described */
	uint32_t uid;
	uint32_t gid;
	uint32_t mtime;
	uint32_t xattr; /* index in the image's table; 0xffffffff: none */
	uint32_t links; /* these are set by tree_order() */
	union {
		uint32_t number;
		uint32_t cleared; /* of a directory, before: plan.c's */
	};
};

struct entry {
	struct entry *sibling;
	struct entry *before; /* the sibling that has this one next, or NULL */
	struct entry *bucket; /* hash chain */
	struct inode *dir;
	struct inode *inode;
	uint8_t layer; /* that put it here last */
	char name[];
};

#define TREE_INODES 1024 /* that are taken at once */

struct tree {
	struct inode *root;
	struct inode **blocks; /* of TREE_INODES each */
	size_t inode_count;
	struct chunk *chunks; /* of entries and targets, the one that has room first */
	struct entry **buckets;
	size_t bucket_count; /* a power of two; 0 once the tree is ordered */
	size_t entry_count;
	size_t max_entries;
	size_t memory; /* bytes: TREE_MAX_MEMORY at most */
};

/*
 * What an archive of a few kilobytes may make of itself here: some 900,000 entries of short names.
 * With what libraries, threads and their buffers take, kiln-image stays below 200 MiB.
 */
#define TREE_MAX_MEMORY ((size_t)160 << 20)

/* PATH_MAX without its NUL: what Linux can follow. */
#define TREE_MAX_TARGET 4095

int tree_init(struct tree *tree, size_t max_entries, kiln_error *err);
void tree_done(struct tree *tree);

/* Counts what is kept beside the tree, and grows with it. KILN_EOVERFLOW beyond TREE_MAX_MEMORY. */
int tree_charge(struct tree *tree, size_t bytes, kiln_error *err);

/* All inodes, in the order in which they were made, whether anything leads to them or not. */
static inline struct inode *tree_inode(const struct tree *tree, size_t index)
{
	return &tree->blocks[index / TREE_INODES][index % TREE_INODES];
}

/* A new inode that is in no directory yet; owned by the tree. */
int tree_new_inode(struct tree *tree, uint16_t mode, struct inode **ret, kiln_error *err);

/* What a symbolic link says. KILN_EFORMAT if it is empty, or longer than TREE_MAX_TARGET. */
int tree_set_target(struct tree *tree, struct inode *inode, const char *target, size_t len,
		    kiln_error *err);

/* Whatever @name is in @dir, or NULL. */
struct entry *tree_find(const struct tree *tree, const struct inode *dir, const char *name);

/* Puts @inode into @dir as @name, which is not there yet. */
int tree_add(struct tree *tree, struct inode *dir, const char *name, struct inode *inode,
	     kiln_error *err);

/*
 * Puts @inode at @path, making missing directories (root's, mode 0755). What is there
 * already is replaced, but neither a directory by something else nor the other way round:
 * a directory keeps what is in it and takes the new one's attributes, and *@inode
 * then is the old one.
 */
int tree_put(struct tree *tree, const char *path, struct inode **inode, kiln_error *err);

/* The inode at @path, through directories only. KILN_ENOENT, naming the path. */
int tree_lookup(struct tree *tree, const char *path, struct inode **ret, kiln_error *err);

/*
 * The directory that holds the last component of @path, and that component (empty: the root).
 * Missing directories are made if @make, else KILN_ENOENT. @ret_name has TREE_NAME_SIZE bytes.
 */
#define TREE_NAME_SIZE 256
int tree_walk(struct tree *tree, const char *path, bool make, struct inode **ret_dir,
	      char *ret_name, kiln_error *err);

/* Takes an entry away, and all that is below it. Its inode may have others. */
void tree_remove(struct tree *tree, struct entry *entry);

/*
 * Sorts every directory by name, counts links and numbers the inodes that are
 * reached from the root, children before their directory, the root last. The array (malloc'ed) has
 * them in this order. Nothing is looked up or added afterwards.
 */
int tree_order(struct tree *tree, struct inode ***ret, size_t *ret_count, kiln_error *err);

#endif
