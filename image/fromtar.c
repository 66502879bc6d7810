/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tar archives (ustar, GNU, pax), as they stream in: no entry touches a file system,
 * device nodes and owners need no privilege, and a path is only looked up in the
 * tree in memory, which knows neither ".." nor links to follow.
 */
#include "root.h"

#include "cleanup.h"
#include "err.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int broken(const struct making *making, struct archive *archive, const char *path,
		  kiln_error *err)
{
	const char *why = archive_error_string(archive);

	if (path)
		return kiln__fail(err, KILN_EFORMAT, "%s is damaged at the entry '%.200s': %s",
				  making->name, path, why ? why : "unknown error");
	return kiln__fail(err, KILN_EFORMAT, "%s is not a readable tar archive: %s", making->name,
			  why ? why : "unknown error");
}

static int copy_data(struct making *making, struct archive *archive, const char *path, int64_t size,
		     kiln_error *err)
{
	int64_t at = 0, offset;
	const void *bytes;
	size_t len;
	int rc;

	for (;;) {
		rc = archive_read_data_block(archive, &bytes, &len, &offset);
		if (rc == ARCHIVE_EOF)
			break;
		if (rc != ARCHIVE_OK || offset < at)
			return broken(making, archive, path, err);
		rc = root_count(making, path, (uint64_t)(offset - at) + len, err);
		if (!rc)
			rc = root_append_hole(making, (uint64_t)(offset - at), err);
		if (!rc && len)
			rc = squash_append(making->squash, bytes, len, err);
		if (rc)
			return rc;
		at = offset + (int64_t)len;
	}
	/* A sparse file may end with a hole. */
	if (at >= size)
		return 0;
	rc = root_count(making, path, (uint64_t)(size - at), err);
	return rc ? rc : root_append_hole(making, (uint64_t)(size - at), err);
}

int root_copy_file(struct making *making, struct archive *archive, struct archive_entry *entry,
		   const char *path, struct inode *inode, kiln_error *err)
{
	int rc;

	rc = squash_begin_file(making->squash, inode, err);
	if (!rc)
		rc = copy_data(making, archive, path, archive_entry_size(entry), err);
	return rc ? rc : squash_end_file(making->squash, &making->tree, err);
}

/*
 * What overlayfs keeps for itself would make files vanish, or show others', in the guest, whose
 * root is below an overlay.
 */
static int check_xattr(const struct making *making, const char *path, const char *name,
		       kiln_error *err)
{
	if (!making->layered || strncmp(name, "trusted.overlay.", 16) != 0)
		return 0;
	return kiln__fail(err, KILN_EFORMAT,
			  "the entry '%.200s' has the attribute %.60s, which is an overlay file "
			  "system's own",
			  path, name);
}

int root_copy_xattrs(struct making *making, struct archive_entry *entry, const char *path,
		     struct inode *inode, kiln_error *err)
{
	const char *name;
	const void *value;
	size_t size;
	int rc;

	if (archive_entry_acl_types(entry))
		making->acls++;
	if (!archive_entry_xattr_reset(entry))
		return 0;
	rc = squash_begin_xattrs(making->squash, err);
	while (rc >= 0 && archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
		rc = check_xattr(making, path, name, err);
		if (rc == 0)
			rc = squash_add_xattr(making->squash, name, value, size, err);
		if (rc == 1 && strncmp(name, "system.posix_acl_", 17) == 0)
			making->acls++;
		else
			making->xattrs += rc == 1;
	}
	return rc < 0 ? rc : squash_end_xattrs(making->squash, &making->tree, inode, err);
}

static int copy_target(struct making *making, struct archive_entry *entry, const char *path,
		       struct inode *inode, kiln_error *err)
{
	const char *target = archive_entry_symlink(entry);
	int rc = tree_set_target(&making->tree, inode, target ? target : "",
				 target ? strlen(target) : 0, err);

	if (rc == KILN_EFORMAT)
		kiln__prefix(err, "the symbolic link '%.200s'", path);
	return rc;
}

static int add_link(struct making *making, const char *path, const char *target, kiln_error *err)
{
	struct inode *inode;
	int rc;

	rc = tree_lookup(&making->tree, target, &inode, err);
	if (!rc && S_ISDIR(inode->mode))
		rc = kiln__fail(err, KILN_EFORMAT, "'%.200s' is a directory", target);
	if (rc) {
		kiln__prefix(err, "the hard link '%.120s'", path);
		return rc;
	}
	return tree_put(&making->tree, path, &inode, err);
}

int root_new_inode(struct making *making, struct archive_entry *entry, const char *path,
		   struct inode **ret, kiln_error *err)
{
	mode_t type = archive_entry_filetype(entry);
	struct inode *inode;
	int rc;

	rc = tree_new_inode(&making->tree, (uint16_t)(type | (archive_entry_perm(entry) & 07777)),
			    &inode, err);
	if (rc)
		return rc;
	if (archive_entry_uid(entry) < 0 || archive_entry_uid(entry) > UINT32_MAX ||
	    archive_entry_gid(entry) < 0 || archive_entry_gid(entry) > UINT32_MAX)
		return kiln__fail(err, KILN_EFORMAT, "the entry '%.200s' has an impossible owner",
				  path);
	inode->uid = (uint32_t)archive_entry_uid(entry);
	inode->gid = (uint32_t)archive_entry_gid(entry);
	inode->mtime = root_time(archive_entry_mtime(entry));
	if (type == AE_IFLNK)
		rc = copy_target(making, entry, path, inode, err);
	else if (type == AE_IFBLK || type == AE_IFCHR)
		rc = root_device(path, (uint64_t)archive_entry_rdevmajor(entry),
				 (uint64_t)archive_entry_rdevminor(entry), &inode->device, err);
	if (!rc)
		*ret = inode;
	return rc;
}

/*
 * Attributes and contents, before the inode gets its place: an entry that fails leaves no trace in
 * the tree.
 */
static int add_new(struct making *making, struct archive *archive, struct archive_entry *entry,
		   const char *path, kiln_error *err)
{
	struct inode *inode;
	int rc = root_new_inode(making, entry, path, &inode, err);

	if (!rc)
		rc = root_copy_xattrs(making, entry, path, inode, err);
	if (!rc)
		rc = tree_put(&making->tree, path, &inode, err);
	if (!rc && archive_entry_filetype(entry) == AE_IFREG)
		rc = root_copy_file(making, archive, entry, path, inode, err);
	return rc;
}

static int add_entry(struct making *making, struct archive *archive, struct archive_entry *entry,
		     kiln_error *err)
{
	/* In pax archives names are UTF-8; elsewhere they are whatever bytes they are. */
	const char *path = archive_entry_pathname(entry);
	const char *link = archive_entry_hardlink(entry);

	if (!path)
		return kiln__fail(err, KILN_EFORMAT,
				  "an entry has a name that is neither UTF-8 nor plain bytes");
	if (link)
		return add_link(making, path, link, err);
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
	case AE_IFDIR:
	case AE_IFLNK:
	case AE_IFBLK:
	case AE_IFCHR:
	case AE_IFIFO:
		return add_new(making, archive, entry, path, err);
	case AE_IFSOCK:
		making->sockets++;
		return 0;
	default:
		return kiln__fail(err, KILN_EFORMAT, "the entry '%.200s' is of an unknown type",
				  path);
	}
}

static int read_entries(struct making *making, struct archive *archive, kiln_error *err)
{
	struct archive_entry *entry;
	int rc, read;

	while ((read = archive_read_next_header(archive, &entry)) != ARCHIVE_EOF) {
		/*
		 * A warning is about one name or header that libarchive could not convert: what we
		 * keep, we check.
		 */
		if (read != ARCHIVE_OK && read != ARCHIVE_WARN)
			return broken(making, archive, NULL, err);
		rc = add_entry(making, archive, entry, err);
		if (rc) {
			if (rc == KILN_EFORMAT || rc == KILN_ENOENT || rc == KILN_EOVERFLOW)
				kiln__prefix(err, "%s", making->name);
			return rc;
		}
	}
	return 0;
}

int root_from_tar(struct making *making, struct input *input, kiln_error *err)
{
	struct archive *archive = archive_read_new();
	int rc;

	if (!archive)
		return kiln__fail_nomem(err);
	input_allow_filters(archive);
	archive_read_support_format_tar(archive);
	archive_read_support_format_empty(archive);
	rc = input_open_archive(input, archive, err);
	if (!rc)
		rc = read_entries(making, archive, err);
	if (!rc && archive_format(archive) == ARCHIVE_FORMAT_EMPTY)
		rc = kiln__fail(err, KILN_EFORMAT, "%s is empty", making->name);
	archive_read_free(archive);
	return rc;
}
