/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and files where macOS has calls of its own. */
#include "posix.h"

#include "buf.h"
#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

ssize_t kiln__os_write(kiln_fd fd, const void *bytes, size_t len)
{
	ssize_t n;

	do
		n = write(fd, bytes, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int kiln__posix_sync(int fd)
{
	/* fsync() leaves data in the drive's cache here; not every file system has the other. */
	if (fcntl(fd, F_FULLFSYNC) == 0 || fsync(fd) == 0)
		return 0;
	return -errno;
}

int kiln__posix_open_unnamed(const char *directory)
{
	(void)directory;
	return -ENOTSUP;
}

int kiln__posix_give_name(int fd, const char *path)
{
	(void)fd;
	(void)path;
	return -ENOTSUP;
}

int kiln__posix_rename_unsynced(const char *from, const char *to)
{
	return rename(from, to) < 0 ? -errno : 0;
}

/* Whether a component of @path is "..", or it does not begin below where it is opened. */
static bool leads_up(const char *path)
{
	if (path[0] == '/')
		return true;
	for (const char *at = path; *at;) {
		size_t len = strcspn(at, "/");

		if (len == 2 && at[0] == '.' && at[1] == '.')
			return true;
		at += len;
		at += strspn(at, "/");
	}
	return false;
}

/* Stricter than need be: any link and any ".." is refused, even one that stays beneath. */
int kiln__os_open_beneath(kiln_fd *ret, kiln_fd root, const char *path, unsigned flags,
			  kiln_error *err)
{
	int fd;

	if (leads_up(path))
		return kiln__fail(err, KILN_EACCES, "%s leads out of its directory", path);
	do
		fd = openat(root, path, kiln__posix_open_flags(flags) | O_NOFOLLOW_ANY, 0600);
	while (fd < 0 && errno == EINTR);
	if (fd < 0 && errno == ELOOP)
		return kiln__fail(err, KILN_EACCES, "%s contains a symbolic link", path);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	*ret = fd;
	return 0;
}

int kiln__os_shared_memory(kiln_fd *ret, const char *label, uint64_t size, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	char name[32]; /* PSHMNAMLEN is 31 */
	uint64_t number;

	(void)label;
	if (size > INT64_MAX)
		return kiln__fail(err, KILN_EOVERFLOW, "shared memory size out of range");
	kiln__os_random(&number, sizeof(number));
	snprintf(name, sizeof(name), "/kiln-%016llx", (unsigned long long)number);
	/* Close-on-exec by itself; and its name is gone before anybody else could guess it. */
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot make shared memory");
	shm_unlink(name);
	/* Can be set only once here, which keeps it from being shrunk. */
	if (ftruncate(fd, (off_t)size) < 0)
		return kiln__fail_errno(err, errno, "cannot make %llu bytes of shared memory",
					(unsigned long long)size);
	*ret = kiln__take_fd(&fd);
	return 0;
}
