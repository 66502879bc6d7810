/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include "cleanup.h"
#include "err.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WHITEOUT                                                                                   \
	"."                                                                                        \
	"wh."
#define META   WHITEOUT ".wh." /* aufs's own, of which images use one: */
#define OPAQUE META ".opq"

/* --- removal ---------------------------------------------------------------------------------- */

static void remove_lower(struct plan *plan, struct entry *entry);

/*
 * Once for each directory and layer, however often an archive says it: what lower layers have put
 * there does not come again.
 */
static void clear_lower(struct plan *plan, struct inode *dir)
{
	const uint32_t mark = plan->layer + 1u;
	struct entry *next;

	if (dir->cleared == mark)
		return;
	dir->cleared = mark;
	for (struct entry *child = dir->children; child; child = next) {
		next = child->sibling;
		remove_lower(plan, child);
	}
}

/*
 * Takes away what lower layers have put at @entry. What this layer has put below it stays, and what
 * that lies in: a whiteout is about the layers below, wherever in its archive it stands.
 */
static void remove_lower(struct plan *plan, struct entry *entry)
{
	if (S_ISDIR(entry->inode->mode)) {
		clear_lower(plan, entry->inode);
		if (entry->inode->children)
			return;
	}
	if (entry->layer != plan->layer)
		tree_remove(&plan->making->tree, entry);
}

/* The directory that a whiteout lies in; 1 if there is none, and so nothing to take away. */
static int find_dir(struct plan *plan, const char *path, struct inode **ret,
		    char name[TREE_NAME_SIZE], kiln_error *err)
{
	int r = tree_walk(&plan->making->tree, path, false, ret, name, err);

	return r == KILN_ENOENT ? 1 : r;
}

static int apply_whiteout(struct plan *plan, const char *path, const char *base, kiln_error *err)
{
	const char *hidden = base + strlen(WHITEOUT);
	char name[TREE_NAME_SIZE];
	struct entry *entry;
	struct inode *dir;
	int r;

	if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return kiln__fail(err, KILN_EFORMAT, "the whiteout '%.200s' hides no name", path);
	r = find_dir(plan, path, &dir, name, err);
	if (r != 0)
		return r < 0 ? r : 0;
	entry = tree_find(&plan->making->tree, dir, hidden);
	if (entry)
		remove_lower(plan, entry);
	return 0;
}

static int apply_opaque(struct plan *plan, const char *path, kiln_error *err)
{
	char name[TREE_NAME_SIZE];
	struct inode *dir;
	int r = find_dir(plan, path, &dir, name, err);

	if (r == 0)
		clear_lower(plan, dir);
	return r < 0 ? r : 0;
}

/* --- entries --------------------------------------------------------------------------------- */

/* The attributes of a directory are those of the entry that described it last. */
static void redescribe(struct plan *plan, struct inode *to, const struct inode *from)
{
	to->mode = from->mode;
	to->uid = from->uid;
	to->gid = from->gid;
	to->mtime = from->mtime;
	to->implied = false;
	to->unread = from->unread;
	to->layer = plan->layer;
	to->position = plan->position;
}

/* Puts @inode at @path, in place of what is there. */
static int place(struct plan *plan, const char *path, struct inode *inode, kiln_error *err)
{
	struct tree *tree = &plan->making->tree;
	char name[TREE_NAME_SIZE];
	struct entry *entry;
	struct inode *dir;
	int r = tree_walk(tree, path, true, &dir, name, err);

	if (r < 0)
		return r;
	if (!name[0]) {
		if (!S_ISDIR(inode->mode))
			return kiln__fail(err, KILN_EFORMAT, "the root '%.200s' is no directory",
					  path);
		redescribe(plan, tree->root, inode);
		return 0;
	}
	entry = tree_find(tree, dir, name);
	if (entry && S_ISDIR(entry->inode->mode) && S_ISDIR(inode->mode)) {
		redescribe(plan, entry->inode, inode);
		entry->layer = plan->layer;
		return 0;
	}
	if (entry && !S_ISDIR(entry->inode->mode) && !S_ISDIR(inode->mode)) {
		entry->inode = inode;
		entry->layer = plan->layer;
		return 0;
	}
	if (entry)
		tree_remove(tree, entry);
	r = tree_add(tree, dir, name, inode, err);
	if (r == 0)
		tree_find(tree, dir, name)->layer = plan->layer;
	return r;
}

static int add_link(struct plan *plan, const char *path, const char *target, kiln_error *err)
{
	struct inode *inode;
	int r = tree_lookup(&plan->making->tree, target, &inode, err);

	if (r == 0 && S_ISDIR(inode->mode))
		r = kiln__fail(err, KILN_EFORMAT, "'%.200s' is a directory", target);
	if (r < 0) {
		kiln__prefix(err, "the hard link '%.120s'", path);
		return r;
	}
	return place(plan, path, inode, err);
}

static int add_inode(struct plan *plan, struct archive_entry *entry, const char *path,
		     kiln_error *err)
{
	mode_t type = archive_entry_filetype(entry);
	struct inode *inode;
	int r;

	/* Which is how overlayfs writes that a name is hidden. */
	if (type == AE_IFCHR && archive_entry_rdevmajor(entry) == 0 &&
	    archive_entry_rdevminor(entry) == 0)
		return kiln__fail(
			err, KILN_EFORMAT,
			"the entry '%.200s' is the character device 0:0, which is an overlay "
			"file system's own",
			path);
	r = root_new_inode(plan->making, entry, path, &inode, err);
	if (r < 0)
		return r;
	inode->layer = plan->layer;
	inode->position = plan->position;
	if (type == AE_IFREG)
		inode->size = (uint64_t)archive_entry_size(entry);
	inode->unread = type == AE_IFREG || archive_entry_xattr_count(entry) ||
			archive_entry_acl_types(entry);
	if (archive_entry_size(entry) < 0)
		return kiln__fail(err, KILN_EFORMAT, "the entry '%.200s' has a negative size",
				  path);
	return place(plan, path, inode, err);
}

/* The last component of a path, without slashes behind it. */
static const char *base_of(const char *path, char name[TREE_NAME_SIZE])
{
	size_t end = strlen(path);
	size_t begin;

	while (end && path[end - 1] == '/')
		end--;
	begin = end;
	while (begin && path[begin - 1] != '/')
		begin--;
	/* A longer one is no whiteout, and is refused for its length. */
	if (end - begin >= TREE_NAME_SIZE)
		return "";
	memcpy(name, path + begin, end - begin);
	name[end - begin] = '\0';
	return name;
}

/* Whether a directory on the way to @path has a name that begins so. */
static bool lies_below(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);
	const char *slash;

	for (; (slash = strchr(path, '/')); path = slash + 1)
		if (!strncmp(path, prefix, len) && slash[strspn(slash, "/")])
			return true;
	return false;
}

int plan_entry(struct plan *plan, struct archive_entry *entry, kiln_error *err)
{
	const char *path = archive_entry_pathname(entry);
	const char *link = archive_entry_hardlink(entry);
	char name[TREE_NAME_SIZE];
	const char *base;

	if (!path)
		return kiln__fail(err, KILN_EFORMAT,
				  "an entry has a name that is neither UTF-8 nor plain bytes");
	/* aufs's own directories (.wh..wh.plnk) are left out with what is in them. */
	if (lies_below(path, META))
		return 0;
	/* image-spec, layer.md, "Whiteouts": no file of an image has such a name. */
	if (lies_below(path, WHITEOUT))
		return kiln__fail(err, KILN_EFORMAT,
				  "the entry '%.200s' lies below a whiteout, which is no directory",
				  path);
	base = base_of(path, name);
	if (!strcmp(base, OPAQUE))
		return apply_opaque(plan, path, err);
	if (!strncmp(base, META, strlen(META)))
		return 0;
	if (!strncmp(base, WHITEOUT, strlen(WHITEOUT)))
		return apply_whiteout(plan, path, base, err);
	if (link)
		return add_link(plan, path, link, err);
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
	case AE_IFDIR:
	case AE_IFLNK:
	case AE_IFBLK:
	case AE_IFCHR:
	case AE_IFIFO:
		return add_inode(plan, entry, path, err);
	case AE_IFSOCK:
		plan->making->sockets++;
		return 0;
	default:
		return kiln__fail(err, KILN_EFORMAT, "the entry '%.200s' is of an unknown type",
				  path);
	}
}

/* --- what is left ---------------------------------------------------------------------------- */

static int by_position(const void *a, const void *b)
{
	const struct inode *left = *(struct inode *const *)a;
	const struct inode *right = *(struct inode *const *)b;

	return (left->position > right->position) - (left->position < right->position);
}

static void mark_kept(struct tree *tree)
{
	for (size_t i = 0; i < tree->bucket_count; i++)
		for (struct entry *entry = tree->buckets[i]; entry; entry = entry->bucket)
			entry->inode->kept = true;
	tree->root->kept = true;
}

static bool is_wanted(const struct inode *inode, uint8_t layer)
{
	return inode->kept && inode->unread && inode->layer == layer;
}

int plan_wanted(struct plan *plan, uint8_t layer, struct inode ***ret, kiln_error *err)
{
	struct tree *tree = &plan->making->tree;
	struct inode **wanted;
	size_t count = 0;

	mark_kept(tree);
	for (size_t i = 0; i < tree->inode_count; i++)
		count += is_wanted(tree_inode(tree, i), layer);
	wanted = calloc(count + 1, sizeof(*wanted));
	if (!wanted)
		return kiln__fail_nomem(err);
	count = 0;
	for (size_t i = 0; i < tree->inode_count; i++)
		if (is_wanted(tree_inode(tree, i), layer))
			wanted[count++] = tree_inode(tree, i);
	qsort(wanted, count, sizeof(*wanted), by_position);
	*ret = wanted;
	return 0;
}
