/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories, attributes and contents by macOS's own calls: getxattr(2), clonefile(2),
 * opendir(3), fcntl(2).
 */
#include "files.h"

#include "buf.h"
#include "err.h"
#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/clonefile.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* <sys/xattr.h>, which the headers that come with zig lack: listxattr(2), getxattr(2). */
#define XATTR_NOFOLLOW 1
ssize_t listxattr(const char *path, char *names, size_t size, int options);
ssize_t getxattr(const char *path, const char *name, void *value, size_t size, uint32_t position,
		 int options);

static int64_t nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t kiln__os_written_ns(const struct stat *st)
{
	return nanoseconds(st->st_mtimespec);
}

int64_t kiln__os_changed_ns(const struct stat *st)
{
	return nanoseconds(st->st_ctimespec);
}

int64_t kiln__os_stamp_ns(void)
{
	return kiln__os_realtime_ns();
}

void kiln__os_device_numbers(const struct stat *st, uint32_t *ret_major, uint32_t *ret_minor)
{
	*ret_major = (uint32_t)major(st->st_rdev);
	*ret_minor = (uint32_t)minor(st->st_rdev);
}

/* Those that macOS keeps for itself (where a file came from, what Finder shows) stay with it. */
static bool is_for_guests(const char *name)
{
	return strncmp(name, "com.apple.", 10) != 0;
}

ssize_t kiln__os_list_xattrs(const char *path, char *names, size_t size)
{
	ssize_t n = listxattr(path, names, size, XATTR_NOFOLLOW);
	size_t kept = 0;

	if (n < 0)
		return -errno;
	for (size_t at = 0; at < (size_t)n;) {
		size_t len = strnlen(names + at, (size_t)n - at) + 1;

		if (at + len > (size_t)n)
			break;
		if (is_for_guests(names + at)) {
			memmove(names + kept, names + at, len);
			kept += len;
		}
		at += len;
	}
	return (ssize_t)kept;
}

ssize_t kiln__os_get_xattr(const char *path, const char *name, void *value, size_t size)
{
	ssize_t n = getxattr(path, name, value, size, 0, XATTR_NOFOLLOW);

	if (n < 0)
		return errno == ENOATTR ? -ENODATA : -errno;
	return n;
}

/* The number that is given away belongs to the stream, and reads on where @dir stands. */
static DIR *begin(kiln_fd dir)
{
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = own < 0 ? NULL : fdopendir(own);
	int code = errno;

	if (own >= 0 && !stream)
		close(own);
	errno = code;
	return stream;
}

int kiln__os_next_entry(struct kiln__os_entries *entries, const char **ret_name)
{
	const struct dirent *entry;
	int code;

	if (!entries->system)
		entries->system = begin(entries->dir);
	if (!entries->system)
		return -errno;
	do {
		errno = 0;
		entry = readdir(entries->system);
	} while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	if (entry) {
		*ret_name = entry->d_name;
		return 1;
	}
	code = errno;
	kiln__os_entries_done(entries);
	return -code;
}

void kiln__os_entries_done(struct kiln__os_entries *entries)
{
	if (entries->system)
		closedir(entries->system);
	entries->system = NULL;
}

int kiln__os_sync_volume(kiln_fd dir, kiln_error *err)
{
	/* <unistd.h>: the drive's cache is written back too, and that is waited for. */
	if (fsync_volume_np(dir, SYNC_VOLUME_FULLSYNC | SYNC_VOLUME_WAIT) < 0)
		return kiln__fail_errno(err, errno, "cannot write to the disk");
	return 0;
}

/* There is no pipe2(): posix_spawn()'s POSIX_SPAWN_CLOEXEC_DEFAULT closes the gap for our children.
 */
int kiln__os_pipe(kiln_fd ret[2], kiln_error *err)
{
	if (pipe(ret) < 0)
		return kiln__fail_errno(err, errno, "cannot make a pipe");
	fcntl(ret[0], F_SETFD, FD_CLOEXEC);
	fcntl(ret[1], F_SETFD, FD_CLOEXEC);
	return 0;
}

/*
 * A clone is always a new file, which has the other's mode (clonefile(2)): so it takes the place of
 * the empty one, whose name nobody else knows.
 */
bool kiln__os_share_contents(kiln_fd *to, const char *path, kiln_fd from)
{
	kiln__autofree char *clone = path ? kiln__strf("%s-clone", path) : NULL;
	int fd;

	if (!clone || fclonefileat(from, AT_FDCWD, clone, CLONE_NOOWNERCOPY) < 0)
		return false;
	if (chmod(clone, 0600) == 0) {
		fd = open(clone, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
		if (fd >= 0 && rename(clone, path) == 0) {
			kiln__os_close(*to);
			*to = fd;
			return true;
		}
		kiln__os_close(fd);
	}
	unlink(clone);
	return false;
}

ssize_t kiln__os_copy_range(kiln_fd from, kiln_fd to, uint64_t offset, size_t len)
{
	(void)from;
	(void)to;
	(void)offset;
	(void)len;
	return -ENOSYS; /* copyfile(3) copies whole files, and in this process */
}

void kiln__os_fd_path(int number, char ret[KILN__OS_FD_PATH])
{
	snprintf(ret, KILN__OS_FD_PATH, "/dev/fd/%d", number);
}

int kiln__os_directory_path(char **ret, kiln_fd dir, kiln_error *err)
{
	char path[MAXPATHLEN]; /* as F_GETPATH wants it: fcntl(2) */

	if (fcntl(dir, F_GETPATH, path) < 0)
		return kiln__fail_errno(err, errno, "cannot find the path of a directory");
	return kiln__posix_give(ret, strdup(path), err);
}
