/* SPDX-License-Identifier: Apache-2.0 */
/* Files that have no name before they are whole, and what survives a power cut. */
#include "posix.h"

#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

KILN__SYSCALLS(openat, linkat, fsync, renameat2, rename, unlink);

int kiln__posix_sync(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

int kiln__posix_open_unnamed(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

int kiln__posix_give_name(int fd, const char *path)
{
	char source[32];

	/*
	 * Who may do without a path: who has a capability, and since Linux 6.10 whoever has opened
	 * it: open(2), under O_TMPFILE.
	 */
	if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM)
		return -errno;
	snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/*
 * A rename over another file makes ext4 begin to write the new file's data at once, for the sake
 * of programs that should have called fsync() (auto_da_alloc, ext4(5)): most of what a replacement
 * costs. Two files that change places are left to the page cache.
 */
int kiln__posix_rename_unsynced(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) < 0)
		return rename(from, to) < 0 ? -errno : 0;
	if (unlink(from) == 0)
		return 0;
	/* It was a directory, which a rename would not have replaced. */
	renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
	return -EISDIR;
}
