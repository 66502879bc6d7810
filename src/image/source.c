/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include "cleanup.h"
#include "err.h"
#include "files.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper trees than this are refused: each level holds a descriptor while it is walked. */
#define MAX_LEVELS 128

static void add_stat(struct kiln__digest *digest, const struct stat *info)
{
	const uint64_t fields[8] = {
		(uint64_t)info->st_ino,
		(uint64_t)info->st_size,
		(uint64_t)kiln__os_written_ns(info),
		(uint64_t)kiln__os_changed_ns(info),
		(uint64_t)info->st_mode << 32 | (uint64_t)info->st_nlink,
		(uint64_t)info->st_uid << 32 | info->st_gid,
		(uint64_t)info->st_dev,
		(uint64_t)info->st_rdev,
	};

	/* The digest never leaves this machine: its byte order is good enough. */
	kiln__digest_add(digest, fields, sizeof(fields));
}

/* --- files --------------------------------------------------------------------------- */

static int of_stat(const struct stat *info, int64_t now, const char *name,
		   struct kiln__source_id *ret, kiln_error *err)
{
	struct kiln__digest digest;

	if (!S_ISREG(info->st_mode) && !S_ISBLK(info->st_mode))
		return kiln__fail(err, KILN_EINVAL, "%s is %s, not a file", name,
				  S_ISDIR(info->st_mode) ? "a directory" : "a special file");
	kiln__digest_init(&digest);
	add_stat(&digest, info);
	kiln__digest_final_hex(&digest, ret->hex);
	ret->settled = kiln__os_changed_ns(info) < now;
	return 0;
}

int kiln__source_file(const char *path, struct kiln__source_id *ret, kiln_error *err)
{
	int64_t now = kiln__os_stamp_ns();
	struct stat info;

	if (stat(path, &info))
		return kiln__fail_errno(err, errno, "%s", path);
	return of_stat(&info, now, path, ret, err);
}

int kiln__source_fd(kiln_fd fd, const char *name, struct kiln__source_id *ret, kiln_error *err)
{
	int64_t now = kiln__os_stamp_ns();
	struct stat info;

	if (fstat(fd, &info))
		return kiln__fail_errno(err, errno, "%s", name);
	return of_stat(&info, now, name, ret, err);
}

/* --- trees --------------------------------------------------------------------------- */

struct walk {
	struct kiln__digest digest;
	const char *name; /* of the root, for messages */
	dev_t device;
	int64_t newest;
	unsigned level;
	char *buffers; /* one a level: a directory is read on after its subdirectories were walked
			*/
};

static int walk_dir(struct walk *walk, kiln_fd dir, kiln_error *err);

static int walk_entry(struct walk *walk, kiln_fd dir, const char *name, kiln_error *err)
{
	kiln__autoclose kiln_fd sub = KILN_FD_NONE;
	struct stat info;

	if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW))
		return kiln__fail_errno(err, errno, "cannot look at '%s' in %s", name, walk->name);
	kiln__digest_adds(&walk->digest, name);
	add_stat(&walk->digest, &info);
	if (kiln__os_changed_ns(&info) > walk->newest)
		walk->newest = kiln__os_changed_ns(&info);
	if (!S_ISDIR(info.st_mode) || info.st_dev != walk->device)
		return 0;
	if (walk->level == MAX_LEVELS)
		return kiln__fail(err, KILN_EOVERFLOW,
				  "%s has directories more than %d levels deep", walk->name,
				  MAX_LEVELS);
	sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0)
		return kiln__fail_errno(err, errno, "cannot open the directory '%s' in %s", name,
					walk->name);
	return walk_dir(walk, sub, err);
}

static int walk_dir(struct walk *walk, kiln_fd dir, kiln_error *err)
{
	struct kiln__os_entries entries = {
		.dir = dir,
		.buffer = walk->buffers + (size_t)walk->level * KILN__OS_ENTRIES_SIZE,
	};
	const char *name;
	int more = 0;
	int rc = 0;

	walk->level++;
	while (!rc && (more = kiln__os_next_entry(&entries, &name)) > 0)
		rc = walk_entry(walk, dir, name, err);
	kiln__os_entries_done(&entries);
	if (more < 0)
		return kiln__fail_errno(err, -more, "cannot list a directory in %s", walk->name);
	walk->level--;
	kiln__digest_adds(&walk->digest, "/"); /* no name is that: the end of a directory */
	return rc;
}

static int walk_tree(kiln_fd dir, const char *name, char *buffers, struct kiln__source_id *ret,
		     kiln_error *err)
{
	struct walk walk = {.name = name, .buffers = buffers};
	int64_t before = kiln__os_stamp_ns();
	struct stat info;
	int rc;

	kiln__digest_init(&walk.digest);
	if (fstat(dir, &info) || lseek(dir, 0, SEEK_SET) < 0)
		return kiln__fail_errno(err, errno, "%s", name);
	walk.device = info.st_dev;
	walk.newest = kiln__os_changed_ns(&info);
	add_stat(&walk.digest, &info);
	rc = walk_dir(&walk, dir, err);
	if (rc)
		return rc;
	kiln__digest_final_hex(&walk.digest, ret->hex);
	ret->settled = walk.newest < before;
	return 0;
}

int kiln__source_tree(kiln_fd dir, const char *name, struct kiln__source_id *ret, kiln_error *err)
{
	kiln__autofree char *buffers = malloc((MAX_LEVELS + 1) * KILN__OS_ENTRIES_SIZE);
	int64_t start = kiln__os_monotonic_ns();
	int rc;

	if (!buffers)
		return kiln__fail_nomem(err);
	do {
		rc = walk_tree(dir, name, buffers, ret, err);
		if (rc)
			return rc;
		/*
		 * Whole-second time stamps and clocks set back would never settle: the bound is for
		 * them.
		 */
	} while (!ret->settled && kiln__os_monotonic_ns() - start < 50000000);
	return 0;
}
