/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory, name by name in sorted order, each opened beneath its parent's
 * descriptor and never through a symbolic link. What this user may not read is an error
 * that names it: an image that silently lacks files would be worse.
 */
#include "root.h"

#include "cleanup.h"
#include "err.h"
#include "files.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As fdopendir() and readdir() call, too. */
KILN__SYSCALLS(openat, fstat, newfstatat, fcntl(1 = F_GETFL), getdents64, lseek, close);
KILN__SYSCALLS(readlinkat, fchdir);

#define MAX_LEVELS 128 /* each holds a descriptor; as in source.c of libkiln */
#define COPY_SIZE  (1 << 18)

struct linked { /* a file with several names */
	dev_t device;
	ino_t number;
	struct inode *inode;
};

struct scan {
	struct making *making;
	dev_t device;
	unsigned level;
	char *path; /* of what is looked at, relative to the root, for messages */
	char *copy_buffer;
	char *xattr_names;
	char *xattr_value;
	struct linked *linked; /* open addressing, a power of two */
	size_t linked_cap;
	size_t linked_count;
};

static int fail(const struct scan *scan, int os_errno, const char *what, kiln_error *err)
{
	kiln__fail_errno(err, os_errno, "cannot %s '%s' in %s", what, scan->path,
			 scan->making->name);
	if (os_errno == EACCES || os_errno == EPERM)
		kiln__hint(err, "make it readable for this user, or make a tar archive of the "
				"directory as root");
	return kiln__code_of_errno(os_errno);
}

/* --- hard links ------------------------------------------------------------------------ */

static struct linked *linked_slot(struct linked *table, size_t cap, dev_t device, ino_t number)
{
	size_t at = (size_t)(number * 0x9e3779b97f4a7c15u >> 17) & (cap - 1);

	while (table[at].inode && (table[at].number != number || table[at].device != device))
		at = (at + 1) & (cap - 1);
	return &table[at];
}

/* The slot of a file with several names; its inode is NULL the first time. */
static int find_linked(struct scan *scan, const struct stat *info, struct linked **ret,
		       kiln_error *err)
{
	if (scan->linked_count * 2 >= scan->linked_cap) {
		size_t cap = scan->linked_cap ? scan->linked_cap * 2 : 1024;
		struct linked *table = calloc(cap, sizeof(*table));

		if (!table)
			return kiln__fail_nomem(err);
		for (size_t i = 0; i < scan->linked_cap; i++)
			if (scan->linked[i].inode)
				*linked_slot(table, cap, scan->linked[i].device,
					     scan->linked[i].number) = scan->linked[i];
		free(scan->linked);
		scan->linked = table;
		scan->linked_cap = cap;
	}
	*ret = linked_slot(scan->linked, scan->linked_cap, info->st_dev, info->st_ino);
	return 0;
}

/* --- contents --------------------------------------------------------------------------- */

/* Copies one run of data: [from, to). */
static int copy_run(struct scan *scan, kiln_fd fd, uint64_t from, uint64_t to, kiln_error *err)
{
	while (from < to) {
		size_t len = to - from < COPY_SIZE ? (size_t)(to - from) : COPY_SIZE;
		ssize_t got = kiln__os_pread_full(fd, scan->copy_buffer, len, from, err);
		int rc;

		if (got < 0)
			return fail(scan, EIO, "read", err);
		if (!got) /* cut short meanwhile; the library finds the tree changed */
			return root_append_hole(scan->making, to - from, err);
		rc = squash_append(scan->making->squash, scan->copy_buffer, (size_t)got, err);
		if (rc)
			return rc;
		from += (uint64_t)got;
	}
	return 0;
}

static int copy_contents(struct scan *scan, kiln_fd fd, uint64_t size, kiln_error *err)
{
	uint64_t at = 0;
	int rc;

	rc = root_count(scan->making, scan->path, size, err);
	while (!rc && at < size) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		uint64_t from, to;

		if (data < 0 && errno != ENXIO) /* a file system without holes */
			return copy_run(scan, fd, at, size, err);
		from = data < 0 || (uint64_t)data > size ? size : (uint64_t)data;
		hole = from < size ? lseek(fd, (off_t)from, SEEK_HOLE) : (off_t)size;
		to = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
		rc = root_append_hole(scan->making, from - at, err);
		if (!rc)
			rc = copy_run(scan, fd, from, to, err);
		at = to;
	}
	return rc;
}

static int copy_file(struct scan *scan, kiln_fd dir, const char *name, const struct stat *info,
		     struct inode *inode, kiln_error *err)
{
	kiln__autoclose kiln_fd fd =
		openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct stat now;
	int rc;

	if (fd < 0)
		return fail(scan, errno, "read", err);
	if (fstat(fd, &now) || now.st_ino != info->st_ino || now.st_dev != info->st_dev)
		return fail(scan, ESTALE, "read", err);
	rc = squash_begin_file(scan->making->squash, inode, err);
	if (!rc)
		rc = copy_contents(scan, fd, (uint64_t)info->st_size, err);
	return rc ? rc : squash_end_file(scan->making->squash, &scan->making->tree, err);
}

static int copy_target(struct scan *scan, kiln_fd dir, const char *name, struct inode *inode,
		       kiln_error *err)
{
	ssize_t len = readlinkat(dir, name, scan->copy_buffer, COPY_SIZE - 1);

	if (len <= 0)
		return fail(scan, len ? errno : EIO, "read the symbolic link", err);
	return tree_set_target(&scan->making->tree, inode, scan->copy_buffer, (size_t)len, err);
}

/*
 * Extended attributes, by name because not everything can be opened: relative to
 * the working directory, which is otherwise of no use in this program.
 */
static int copy_xattrs(struct scan *scan, kiln_fd dir, const char *name, struct inode *inode,
		       kiln_error *err)
{
	ssize_t total, size;
	int rc;

	if (fchdir(dir))
		return fail(scan, errno, "enter the directory of", err);
	total = kiln__os_list_xattrs(name, scan->xattr_names, KILN__OS_XATTR_NAMES_MAX);
	if (total == 0 || total == -ENOTSUP)
		return 0;
	if (total < 0)
		return fail(scan, (int)-total, "list the extended attributes of", err);
	rc = squash_begin_xattrs(scan->making->squash, err);
	for (ssize_t at = 0; rc >= 0 && at < total;) {
		const char *key = scan->xattr_names + at;

		at += (ssize_t)strlen(key) + 1;
		size = kiln__os_get_xattr(name, key, scan->xattr_value, KILN__OS_XATTR_VALUE_MAX);
		if (size == -ENODATA)
			continue;
		if (size < 0)
			return fail(scan, (int)-size, "read the extended attributes of", err);
		rc = squash_add_xattr(scan->making->squash, key, scan->xattr_value, (size_t)size,
				      err);
		scan->making->xattrs += rc == 1;
	}
	return rc < 0 ? rc
		      : squash_end_xattrs(scan->making->squash, &scan->making->tree, inode, err);
}

/* --- walking ------------------------------------------------------------------------------ */

static int scan_dir(struct scan *scan, kiln_fd dir, struct inode *inode, kiln_error *err);

static int scan_subdir(struct scan *scan, kiln_fd dir, const char *name, struct inode *inode,
		       kiln_error *err)
{
	kiln__autoclose kiln_fd sub =
		openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (sub < 0)
		return fail(scan, errno, "open the directory", err);
	if (scan->level == MAX_LEVELS)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "%s has directories more than %d levels deep", scan->making->name,
				  MAX_LEVELS);
	return scan_dir(scan, sub, inode, err);
}

static void set_attributes(struct inode *inode, const struct stat *info)
{
	inode->mode = (uint16_t)info->st_mode;
	inode->uid = info->st_uid;
	inode->gid = info->st_gid;
	inode->mtime = root_time(info->st_mtime);
	inode->implied = false;
}

static int add_new(struct scan *scan, kiln_fd dir, struct inode *parent, const char *name,
		   const struct stat *info, struct inode **ret, kiln_error *err)
{
	uint32_t major, minor;
	struct inode *inode;
	int rc;

	rc = tree_new_inode(&scan->making->tree, (uint16_t)info->st_mode, &inode, err);
	if (rc)
		return rc;
	*ret = inode;
	set_attributes(inode, info);
	rc = copy_xattrs(scan, dir, name, inode, err);
	if (!rc)
		rc = tree_add(&scan->making->tree, parent, name, inode, err);
	if (rc)
		return rc;
	switch (info->st_mode & S_IFMT) {
	case S_IFDIR:
		/* A mount point is there, empty, and what is mounted on it is not. */
		return info->st_dev == scan->device ? scan_subdir(scan, dir, name, inode, err) : 0;
	case S_IFREG:
		return copy_file(scan, dir, name, info, inode, err);
	case S_IFLNK:
		return copy_target(scan, dir, name, inode, err);
	case S_IFBLK:
	case S_IFCHR:
		kiln__os_device_numbers(info, &major, &minor);
		return root_device(scan->path, major, minor, &inode->device, err);
	default:
		return 0;
	}
}

static int scan_entry(struct scan *scan, kiln_fd dir, struct inode *parent, const char *name,
		      kiln_error *err)
{
	struct linked *linked = NULL;
	struct inode *inode = NULL;
	struct stat info;
	int rc = 0;

	if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW))
		return fail(scan, errno, "look at", err);
	if (S_ISSOCK(info.st_mode)) {
		scan->making->sockets++;
		return 0;
	}
	if (!S_ISDIR(info.st_mode) && info.st_nlink > 1) {
		rc = find_linked(scan, &info, &linked, err);
		if (rc)
			return rc;
		if (linked->inode)
			return tree_add(&scan->making->tree, parent, name, linked->inode, err);
	}
	rc = add_new(scan, dir, parent, name, &info, &inode, err);
	if (!rc && linked) {
		*linked = (struct linked){info.st_dev, info.st_ino, inode};
		scan->linked_count++;
	}
	return rc;
}

static int scan_dir(struct scan *scan, kiln_fd dir, struct inode *inode, kiln_error *err)
{
	size_t path_len = strlen(scan->path);
	char **names;
	int rc;

	rc = kiln__os_list_open(dir, *scan->path ? scan->path : scan->making->name, &names, err);
	if (rc)
		return rc;
	scan->level++;
	for (char **name = names; !rc && *name; name++) {
		size_t room = (size_t)MAX_LEVELS * (NAME_MAX + 1) - path_len;

		snprintf(scan->path + path_len, room, "%s%s", path_len ? "/" : "", *name);
		rc = scan_entry(scan, dir, inode, *name, err);
		scan->path[path_len] = '\0';
	}
	kiln__os_free_names(names);
	scan->level--;
	return rc;
}

int root_from_dir(struct making *making, kiln_fd dir, kiln_error *err)
{
	struct scan scan = {.making = making};
	struct stat info;
	int rc;

	if (fstat(dir, &info))
		return kiln__fail_errno(err, errno, "%s", making->name);
	scan.device = info.st_dev;
	scan.path = calloc(MAX_LEVELS + 1, NAME_MAX + 1);
	scan.copy_buffer = malloc(COPY_SIZE);
	scan.xattr_names = malloc(KILN__OS_XATTR_NAMES_MAX);
	scan.xattr_value = malloc(KILN__OS_XATTR_VALUE_MAX);
	if (scan.path && scan.copy_buffer && scan.xattr_names && scan.xattr_value) {
		set_attributes(making->tree.root, &info);
		rc = copy_xattrs(&scan, dir, ".", making->tree.root, err);
		if (!rc)
			rc = scan_dir(&scan, dir, making->tree.root, err);
	} else {
		rc = kiln__fail_nomem(err);
	}
	free(scan.path);
	free(scan.copy_buffer);
	free(scan.xattr_names);
	free(scan.xattr_value);
	free(scan.linked);
	return rc;
}
