/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the keeping and making of images asks of a file system beyond os.h: entries as they come,
 * attributes, files that get their name last, and contents that are shared. On Linux and macOS.
 */
#ifndef KILN_OS_FILES_H
#define KILN_OS_FILES_H

#include <kiln/error.h>

#include "fd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stat;

/* --- what a file says of itself ------------------------------------------------------ */

/* When it was last written, and when anything about it last changed: nanoseconds. */
int64_t kiln__os_written_ns(const struct stat *st);
int64_t kiln__os_changed_ns(const struct stat *st);

/* The clock that new changes are stamped by, which may be behind the wall clock, by a tick. */
int64_t kiln__os_stamp_ns(void);

/*
 * Whether the open file still is the one of that name in @dir (AT_FDCWD: by path): of a lock file,
 * which its last holder unlinks or renames.
 */
bool kiln__os_is_at(kiln_fd fd, kiln_fd dir, const char *name);

/* Which device a device file is. */
void kiln__os_device_numbers(const struct stat *st, uint32_t *ret_major, uint32_t *ret_minor);

/*
 * The names of the extended attributes of the file @path itself, each with its NUL, and the value
 * of one: as far as a Linux guest has a use for them. A count of bytes or a negative errno;
 * -ENOTSUP where there are none, -ENODATA if that one is gone.
 */
#define KILN__OS_XATTR_NAMES_MAX 65536 /* xattr(7) */
#define KILN__OS_XATTR_VALUE_MAX 65536
ssize_t kiln__os_list_xattrs(const char *path, char *names, size_t size);
ssize_t kiln__os_get_xattr(const char *path, const char *name, void *value, size_t size);

/* --- directories --------------------------------------------------------------------- */

#define KILN__OS_ENTRIES_SIZE 32768

/* What reads an open directory's names, in no order, without "." and "..". */
struct kiln__os_entries {
	kiln_fd dir;  /* borrowed; read from where it stands */
	char *buffer; /* of the caller's, KILN__OS_ENTRIES_SIZE bytes, aligned as malloc() does */
	size_t at, len;
	void *system; /* NULL */
};

/*
 * The next name, which stays until the next call: 1; 0 at the end; or a negative errno. After one
 * that was not positive nothing is held.
 */
int kiln__os_next_entry(struct kiln__os_entries *entries, const char **ret_name);
void kiln__os_entries_done(struct kiln__os_entries *entries); /* one that was not read to its end */

/* kiln__os_list_dir() of an open directory; @name is for messages. */
int kiln__os_list_open(kiln_fd dir, const char *name, char ***ret_names, kiln_error *err);

/* --- making files -------------------------------------------------------------------- */

/* All that was written to the file system that @dir is on survives a power cut. */
int kiln__os_sync_volume(kiln_fd dir, kiln_error *err);

/* A pipe, close-on-exec: to read from, and to write to. */
int kiln__os_pipe(kiln_fd ret[2], kiln_error *err);

/*
 * A file in @directory that has no name until it is given one, which nobody may have yet
 * (KILN_EEXIST). KILN_ENOTSUP where the system or the file system has no such thing.
 */
int kiln__os_open_unnamed(kiln_fd *ret, const char *directory, kiln_error *err);
int kiln__os_give_name(kiln_fd fd, const char *path, kiln_error *err);

/*
 * Lets a new and empty file of ours have the contents of another, stored once until one of them is
 * changed. @path is its name, NULL if it has none yet; where the system can only make new files so,
 * *to becomes another file of that name. False if that cannot be; *to is as it was then.
 */
bool kiln__os_share_contents(kiln_fd *to, const char *path, kiln_fd from);

/* Copies by the system, within it: a count, 0 at the end, or a negative errno. */
ssize_t kiln__os_copy_range(kiln_fd from, kiln_fd to, uint64_t offset, size_t len);

/* --- paths for others ---------------------------------------------------------------- */

#define KILN__OS_FD_PATH 32

/* By which a program opens anew what it has as descriptor @number. */
void kiln__os_fd_path(int number, char ret[KILN__OS_FD_PATH]);

/* The path of an open directory, for a library that wants one; malloc'ed. */
int kiln__os_directory_path(char **ret, kiln_fd dir, kiln_error *err);

#endif
