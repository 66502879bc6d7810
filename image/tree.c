/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"
#include "squash.h"

#include "cleanup.h"
#include "err.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_NAME                                                                                   \
	(TREE_NAME_SIZE -                                                                          \
	 1)            /* squashfs stores one byte less than the length; Linux has the same bound */
#define MAX_DEPTH 1024 /* of directories, which also bounds recursion below */

/*
 * An entry comes with its place in a bucket or two, and is kept once more by libsquashfs while its
 * directory is written; an inode with its place in tree_order()'s array, or plan_wanted()'s.
 */
#define ENTRY_EXTRA 64
#define INODE_EXTRA 16

/* Where entries and the targets of links lie. */
struct chunk {
	struct chunk *next;
	size_t used;
	_Alignas(max_align_t) char bytes[];
};

#define CHUNK_SIZE ((size_t)1 << 18)

int tree_charge(struct tree *tree, size_t bytes, kiln_error *err)
{
	if (bytes > TREE_MAX_MEMORY - tree->memory)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "its names, links and attributes take more than %zu MiB of "
				  "memory",
				  TREE_MAX_MEMORY >> 20);
	tree->memory += bytes;
	return 0;
}

/* @len bytes that live as long as the tree. NULL: no memory. */
static void *take(struct tree *tree, size_t len)
{
	struct chunk *chunk = tree->chunks;

	len = (len + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
	if (!chunk || len > CHUNK_SIZE - sizeof(*chunk) - chunk->used) {
		chunk = malloc(CHUNK_SIZE);
		if (!chunk)
			return NULL;
		chunk->next = tree->chunks;
		chunk->used = 0;
		tree->chunks = chunk;
	}
	chunk->used += len;
	return chunk->bytes + chunk->used - len;
}

int tree_set_target(struct tree *tree, struct inode *inode, const char *target, size_t len,
		    kiln_error *err)
{
	char *copy;
	int r;

	if (len == 0 || len > TREE_MAX_TARGET)
		return kiln__fail(err, KILN_EFORMAT, "it has no usable target");
	r = tree_charge(tree, len + sizeof(void *), err);
	if (r < 0)
		return r;
	copy = take(tree, len + 1);
	if (!copy)
		return kiln__fail_nomem(err);
	memcpy(copy, target, len);
	copy[len] = '\0';
	inode->target = copy;
	return 0;
}

static int add_block(struct tree *tree, kiln_error *err)
{
	size_t count = tree->inode_count / TREE_INODES;
	struct inode **blocks = realloc(tree->blocks, (count + 1) * sizeof(struct inode *));

	if (!blocks)
		return kiln__fail_nomem(err);
	tree->blocks = blocks;
	blocks[count] = calloc(TREE_INODES, sizeof(struct inode));
	return blocks[count] ? 0 : kiln__fail_nomem(err);
}

int tree_new_inode(struct tree *tree, uint16_t mode, struct inode **ret, kiln_error *err)
{
	int r = tree_charge(tree, sizeof(struct inode) + INODE_EXTRA, err);
	struct inode *inode;

	if (r == 0 && tree->inode_count % TREE_INODES == 0)
		r = add_block(tree, err);
	if (r < 0)
		return r;
	inode = tree_inode(tree, tree->inode_count++);
	inode->mode = mode;
	inode->xattr = 0xffffffff;
	*ret = inode;
	return 0;
}

int tree_init(struct tree *tree, size_t max_entries, kiln_error *err)
{
	int rc;

	*tree = (struct tree){.max_entries = max_entries, .bucket_count = 4096};
	tree->buckets = calloc(tree->bucket_count, sizeof(struct entry *));
	if (!tree->buckets)
		return kiln__fail_nomem(err);
	rc = tree_new_inode(tree, S_IFDIR | 0755, &tree->root, err);
	if (rc) {
		tree_done(tree);
		return rc;
	}
	tree->root->parent = tree->root;
	tree->root->implied = true;
	return 0;
}

void tree_done(struct tree *tree)
{
	struct chunk *chunk;

	for (size_t i = 0; i < tree->inode_count; i++)
		squash_free_file(tree_inode(tree, i));
	for (size_t i = 0; i < tree->inode_count; i += TREE_INODES)
		free(tree->blocks[i / TREE_INODES]);
	free(tree->blocks);
	while ((chunk = tree->chunks)) {
		tree->chunks = chunk->next;
		free(chunk);
	}
	free(tree->buckets);
	*tree = (struct tree){0};
}

/* --- names -------------------------------------------------------------------------- */

/* FNV-1a over the directory's address and the name. */
static uint32_t hash_of(const struct inode *dir, const char *name)
{
	uint32_t hash = 2166136261u ^ (uint32_t)((uintptr_t)dir >> 4);

	hash *= 16777619u;
	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return hash ^ hash >> 15;
}

static struct entry **bucket_of(const struct tree *tree, const struct inode *dir, const char *name)
{
	return &tree->buckets[hash_of(dir, name) & (tree->bucket_count - 1)];
}

struct entry *tree_find(const struct tree *tree, const struct inode *dir, const char *name)
{
	struct entry *entry = *bucket_of(tree, dir, name);

	while (entry && (entry->dir != dir || strcmp(entry->name, name)))
		entry = entry->bucket;
	return entry;
}

static void put_in_bucket(struct tree *tree, struct entry *entry)
{
	struct entry **at = bucket_of(tree, entry->dir, entry->name);

	entry->bucket = *at;
	*at = entry;
}

static int rehash(struct tree *tree, kiln_error *err)
{
	struct entry **old = tree->buckets;
	size_t count = tree->bucket_count;
	struct entry **buckets = calloc(count * 2, sizeof(struct entry *));

	if (!buckets)
		return kiln__fail_nomem(err);
	tree->buckets = buckets;
	tree->bucket_count = count * 2;
	for (size_t i = 0; i < count; i++) {
		struct entry *next;

		for (struct entry *entry = old[i]; entry; entry = next) {
			next = entry->bucket;
			put_in_bucket(tree, entry);
		}
	}
	free(old);
	return 0;
}

int tree_add(struct tree *tree, struct inode *dir, const char *name, struct inode *inode,
	     kiln_error *err)
{
	size_t len = strlen(name);
	struct entry *entry;
	int rc;

	if (tree->entry_count >= tree->max_entries)
		return kiln__fail(err, KILN_EOVERFLOW, "more than %zu entries", tree->max_entries);
	if (len > MAX_NAME)
		return kiln__fail(err, KILN_EFORMAT, "the name '%.60s...' has more than %d bytes",
				  name, MAX_NAME);
	rc = tree_charge(tree, offsetof(struct entry, name) + 2 * len + ENTRY_EXTRA, err);
	if (rc)
		return rc;
	if (tree->entry_count >= tree->bucket_count) {
		rc = rehash(tree, err);
		if (rc)
			return rc;
	}
	entry = take(tree, offsetof(struct entry, name) + len + 1);
	if (!entry)
		return kiln__fail_nomem(err);
	memcpy(entry->name, name, len + 1);
	entry->dir = dir;
	entry->inode = inode;
	entry->layer = 0;
	entry->before = NULL;
	entry->sibling = dir->children;
	if (entry->sibling)
		entry->sibling->before = entry;
	dir->children = entry;
	put_in_bucket(tree, entry);
	tree->entry_count++;
	if (S_ISDIR(inode->mode))
		inode->parent = dir;
	return 0;
}

static void forget(struct tree *tree, struct entry *entry)
{
	struct entry **at = bucket_of(tree, entry->dir, entry->name);

	while (*at != entry)
		at = &(*at)->bucket;
	*at = entry->bucket;
	tree->entry_count--;
}

void tree_remove(struct tree *tree, struct entry *entry)
{
	struct inode *inode = entry->inode;

	/* As deep as directories are, which tree_walk() bounds. */
	while (S_ISDIR(inode->mode) && inode->children)
		tree_remove(tree, inode->children);
	if (entry->before)
		entry->before->sibling = entry->sibling;
	else
		entry->dir->children = entry->sibling;
	if (entry->sibling)
		entry->sibling->before = entry->before;
	forget(tree, entry);
}

/* --- paths -------------------------------------------------------------------------- */

/* Takes the next component of a path, without "." and empty ones. 0 at the end. */
static int next_component(const char **path, char ret[MAX_NAME + 1], const char *whole,
			  kiln_error *err)
{
	size_t len;

	do {
		*path += strspn(*path, "/");
		len = strcspn(*path, "/");
		if (len > MAX_NAME)
			return kiln__fail(err, KILN_EFORMAT,
					  "the entry '%.200s' has a name longer than %d bytes",
					  whole, MAX_NAME);
		memcpy(ret, *path, len);
		ret[len] = '\0';
		*path += len;
	} while (!strcmp(ret, "."));
	if (!strcmp(ret, ".."))
		return kiln__fail(err, KILN_EFORMAT,
				  "the entry '%.200s' leads out of the root by '..'", whole);
	return len ? 1 : 0;
}

/*
 * Walks to the directory that holds the last component of @path, which is left in
 * @ret_name (empty: the root itself).
 */
int tree_walk(struct tree *tree, const char *path, bool make, struct inode **ret_dir,
	      char *ret_name, kiln_error *err)
{
	struct inode *dir = tree->root;
	const char *rest = path;
	char next[MAX_NAME + 1];
	unsigned depth = 0;
	int more;

	/* "/" alone is a way to write the root. */
	if (path[0] == '/' && path[strspn(path, "/")])
		return kiln__fail(err, KILN_EFORMAT, "the entry '%.200s' has an absolute path",
				  path);
	more = next_component(&rest, ret_name, path, err);
	while (more > 0 && (more = next_component(&rest, next, path, err)) > 0) {
		struct entry *entry = tree_find(tree, dir, ret_name);
		struct inode *inode = entry ? entry->inode : NULL;
		int rc = 0;

		if (!inode && !make)
			return kiln__fail(err, KILN_ENOENT, "'%.200s' is not there", path);
		if (!inode) {
			rc = tree_new_inode(tree, S_IFDIR | 0755, &inode, err);
			if (!rc)
				rc = tree_add(tree, dir, ret_name, inode, err);
			if (rc)
				return rc;
			inode->implied = true;
		}
		if (!S_ISDIR(inode->mode))
			return kiln__fail(
				err, KILN_EFORMAT, "the entry '%.200s' leads through '%s', %s",
				path, ret_name,
				S_ISLNK(inode->mode) ? "a symbolic link" : "which is no directory");
		if (++depth > MAX_DEPTH)
			return kiln__fail(err, KILN_EOVERFLOW,
					  "the entry '%.60s...' is more than %d levels deep", path,
					  MAX_DEPTH);
		dir = inode;
		memcpy(ret_name, next, sizeof(next));
	}
	*ret_dir = dir;
	return more < 0 ? more : 0;
}

static void copy_attributes(struct inode *to, const struct inode *from)
{
	to->mode = from->mode;
	to->uid = from->uid;
	to->gid = from->gid;
	to->mtime = from->mtime;
	to->xattr = from->xattr;
	to->implied = false;
}

int tree_put(struct tree *tree, const char *path, struct inode **inode, kiln_error *err)
{
	bool is_dir = S_ISDIR((*inode)->mode);
	struct inode *dir, *old;
	struct entry *entry;
	char name[MAX_NAME + 1];
	int rc;

	rc = tree_walk(tree, path, true, &dir, name, err);
	if (rc)
		return rc;
	entry = name[0] ? tree_find(tree, dir, name) : NULL;
	if (name[0] && !entry)
		return tree_add(tree, dir, name, *inode, err);
	old = entry ? entry->inode : tree->root;
	if (is_dir != S_ISDIR(old->mode))
		return kiln__fail(
			err, KILN_EFORMAT,
			"the entry '%.200s' is there twice, as a directory and as something else",
			path);
	if (!is_dir) {
		entry->inode = *inode;
		return 0;
	}
	copy_attributes(old, *inode);
	*inode = old;
	return 0;
}

int tree_lookup(struct tree *tree, const char *path, struct inode **ret, kiln_error *err)
{
	char name[MAX_NAME + 1];
	struct entry *entry;
	struct inode *dir;
	int rc;

	rc = tree_walk(tree, path, false, &dir, name, err);
	if (rc)
		return rc;
	entry = name[0] ? tree_find(tree, dir, name) : NULL;
	if (name[0] && !entry)
		return kiln__fail(err, KILN_ENOENT, "'%.200s' is not there", path);
	*ret = entry ? entry->inode : tree->root;
	return 0;
}

/* --- order -------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int sort_children(struct inode *dir, kiln_error *err)
{
	kiln__autofree struct entry **array = NULL;
	struct entry *entry;
	size_t count = 0, i = 0;

	for (entry = dir->children; entry; entry = entry->sibling)
		count++;
	if (!count)
		return 0;
	array = calloc(count, sizeof(*array));
	if (!array)
		return kiln__fail_nomem(err);
	for (entry = dir->children; entry; entry = entry->sibling)
		array[i++] = entry;
	qsort(array, count, sizeof(*array), compare);
	for (i = 0; i < count; i++)
		array[i]->sibling = i + 1 < count ? array[i + 1] : NULL;
	dir->children = array[0];
	return 0;
}

struct ordering {
	struct inode **array;
	size_t count;
};

/* Depth is bounded by walk() or by whoever called tree_add(). */
static int order_dir(struct ordering *order, struct inode *dir, kiln_error *err)
{
	struct entry *entry;
	int rc;

	rc = sort_children(dir, err);
	dir->links = 2;
	for (entry = dir->children; !rc && entry; entry = entry->sibling) {
		struct inode *inode = entry->inode;

		if (S_ISDIR(inode->mode)) {
			dir->links++;
			rc = order_dir(order, inode, err);
		} else if (!inode->links++) {
			order->array[order->count++] = inode;
			inode->number = (uint32_t)order->count;
		}
	}
	order->array[order->count++] = dir;
	dir->number = (uint32_t)order->count;
	return rc;
}

int tree_order(struct tree *tree, struct inode ***ret, size_t *ret_count, kiln_error *err)
{
	struct ordering order = {calloc(tree->entry_count + 1, sizeof(*order.array)), 0};
	int rc;

	if (!order.array)
		return kiln__fail_nomem(err);
	rc = order_dir(&order, tree->root, err);
	if (rc) {
		free(order.array);
		return rc;
	}
	/* Nobody looks for a name any more, and the directories are yet to be written. */
	free(tree->buckets);
	tree->buckets = NULL;
	tree->bucket_count = 0;
	*ret = order.array;
	*ret_count = order.count;
	return 0;
}
