/* SPDX-License-Identifier: Apache-2.0 */
/* Directories, attributes and contents by Linux's own calls. */
#include "files.h"

#include "buf.h"
#include "err.h"
#include "posix.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* Of a process that is confined: those that read a tree. */
KILN__SYSCALLS(llistxattr, lgetxattr);

static int64_t nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t kiln__os_written_ns(const struct stat *st)
{
	return nanoseconds(st->st_mtim);
}

int64_t kiln__os_changed_ns(const struct stat *st)
{
	return nanoseconds(st->st_ctim);
}

int64_t kiln__os_stamp_ns(void)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_REALTIME_COARSE, &now); /* it moves once a tick */
	return nanoseconds(now);
}

void kiln__os_device_numbers(const struct stat *st, uint32_t *ret_major, uint32_t *ret_minor)
{
	*ret_major = major(st->st_rdev);
	*ret_minor = minor(st->st_rdev);
}

ssize_t kiln__os_list_xattrs(const char *path, char *names, size_t size)
{
	ssize_t n = llistxattr(path, names, size);

	return n < 0 ? -errno : n;
}

ssize_t kiln__os_get_xattr(const char *path, const char *name, void *value, size_t size)
{
	ssize_t n = lgetxattr(path, name, value, size);

	return n < 0 ? -errno : n;
}

struct entry64 { /* struct linux_dirent64, getdents(2) */
	uint64_t inode;
	int64_t offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

int kiln__os_next_entry(struct kiln__os_entries *entries, const char **ret_name)
{
	for (;;) {
		const struct entry64 *entry;
		long got;

		if (entries->at == entries->len) {
			got = syscall(SYS_getdents64, entries->dir, entries->buffer,
				      KILN__OS_ENTRIES_SIZE);
			if (got <= 0)
				return got < 0 ? -errno : 0;
			entries->at = 0;
			entries->len = (size_t)got;
		}
		entry = (const void *)(entries->buffer + entries->at);
		entries->at += entry->size;
		if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
			continue;
		*ret_name = entry->name;
		return 1;
	}
}

void kiln__os_entries_done(struct kiln__os_entries *entries)
{
	(void)entries;
}

int kiln__os_sync_volume(kiln_fd dir, kiln_error *err)
{
	return syncfs(dir) < 0 ? kiln__fail_errno(err, errno, "cannot write to the disk") : 0;
}

int kiln__os_pipe(kiln_fd ret[2], kiln_error *err)
{
	if (pipe2(ret, O_CLOEXEC) < 0)
		return kiln__fail_errno(err, errno, "cannot make a pipe");
	return 0;
}

bool kiln__os_share_contents(kiln_fd *to, const char *path, kiln_fd from)
{
	(void)path;
	return ioctl(*to, FICLONE, from) == 0;
}

ssize_t kiln__os_copy_range(kiln_fd from, kiln_fd to, uint64_t offset, size_t len)
{
	off_t in = (off_t)offset, out = (off_t)offset;
	ssize_t n;

	do
		n = copy_file_range(from, &in, to, &out, len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

void kiln__os_fd_path(int number, char ret[KILN__OS_FD_PATH])
{
	snprintf(ret, KILN__OS_FD_PATH, "/proc/self/fd/%d", number);
}

int kiln__os_directory_path(char **ret, kiln_fd dir, kiln_error *err)
{
	return kiln__posix_give(ret, kiln__strf("/proc/self/fd/%d", dir), err);
}
