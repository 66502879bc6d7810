/* SPDX-License-Identifier: Apache-2.0 */
/* Files: opening, looking at, reading whole, locking. */
#include "posix.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Locks are taken before, and given back by the end. */
KILN__SYSCALLS(openat, fstat, newfstatat, geteuid);

int kiln__posix_open_flags(unsigned flags)
{
	int o = O_CLOEXEC | O_NOCTTY;

	o |= flags & KILN__OPEN_WRITE ? O_RDWR : O_RDONLY;
	if (flags & KILN__OPEN_CREATE)
		o |= O_CREAT;
	if (flags & KILN__OPEN_EXCLUSIVE)
		o |= O_EXCL;
	if (flags & KILN__OPEN_APPEND)
		o |= O_APPEND;
	if (flags & KILN__OPEN_TRUNCATE)
		o |= O_TRUNC;
	if (flags & KILN__OPEN_DIRECTORY)
		o |= O_DIRECTORY;
	if (flags & KILN__OPEN_HOSTILE)
		o |= O_NOFOLLOW | O_NONBLOCK;
	return o;
}

int kiln__os_open(kiln_fd *ret, const char *path, unsigned flags, kiln_error *err)
{
	int fd;

	do
		fd = open(path, kiln__posix_open_flags(flags), 0600);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	*ret = fd;
	return 0;
}

static void fill_stat(struct kiln__os_stat *ret, const struct stat *st)
{
	*ret = (struct kiln__os_stat){
		.size = (uint64_t)st->st_size,
		.allocated = (uint64_t)st->st_blocks * 512, /* POSIX: st_blocks counts 512 bytes */
		.mtime_ns = kiln__posix_mtime_ns(st),
		.device = (uint64_t)st->st_dev,
		.device_type = (uint64_t)st->st_rdev,
		.inode = (uint64_t)st->st_ino,
		.is_file = S_ISREG(st->st_mode),
		.is_directory = S_ISDIR(st->st_mode),
		.is_block_device = S_ISBLK(st->st_mode),
		.owner = st->st_uid,
		.read_by_owner = st->st_mode & S_IRUSR,
		.read_by_others = st->st_mode & S_IROTH,
	};
}

int kiln__os_stat(const char *path, struct kiln__os_stat *ret, kiln_error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at %s", path);
	fill_stat(ret, &st);
	return 0;
}

int kiln__os_fstat(kiln_fd fd, struct kiln__os_stat *ret, kiln_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return kiln__fail_errno(err, errno, "cannot look at an open file");
	fill_stat(ret, &st);
	return 0;
}

/* Groups are left out: who needs to know can do without them. */
bool kiln__os_may_reopen(const struct kiln__os_stat *st)
{
	return st->read_by_others || (st->read_by_owner && st->owner == geteuid());
}

int kiln__os_read_file(const char *path, size_t max, char **ret, size_t *ret_len, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = kiln__os_open(&fd, path, KILN__OPEN_READ, err);

	return r < 0 ? r : kiln__os_read_open(fd, path, max, ret, ret_len, err);
}

int kiln__os_read_open(kiln_fd fd, const char *name, size_t max, char **ret, size_t *ret_len,
		       kiln_error *err)
{
	kiln__autofree char *data = NULL;
	size_t cap = 0;
	size_t len = 0;

	/* Sizes from fstat are not to be trusted (/proc, growing files): read until the end. */
	for (;;) {
		ssize_t n;

		if (len + 1 >= cap) {
			char *more;

			cap = cap ? cap * 2 : 4096;
			more = realloc(data, cap);
			if (!more)
				return kiln__fail_nomem(err);
			data = more;
		}
		n = kiln__os_read(fd, data + len, cap - len - 1);
		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot read %s", name);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return kiln__fail(err, KILN_EOVERFLOW, "%s is larger than %zu bytes", name,
					  max);
	}
	data[len] = '\0';
	*ret = kiln__take(data);
	if (ret_len)
		*ret_len = len;
	return 0;
}

/*
 * flock() belongs to the open file description, unlike fcntl()'s record locks,
 * which end when any descriptor of the file is closed anywhere in the process.
 */
static int try_lock(kiln_fd fd, int how, kiln_error *err)
{
	if (flock(fd, how | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return kiln__fail(err, KILN_EBUSY, "another process holds the lock");
	return kiln__fail_errno(err, errno, "cannot lock");
}

int kiln__os_try_lock(kiln_fd fd, kiln_error *err)
{
	return try_lock(fd, LOCK_EX, err);
}

int kiln__os_try_lock_shared(kiln_fd fd, kiln_error *err)
{
	return try_lock(fd, LOCK_SH, err);
}

int kiln__os_lock(kiln_fd fd, kiln_error *err)
{
	int r;

	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	return r < 0 ? kiln__fail_errno(err, errno, "cannot lock") : 0;
}

void kiln__os_unlock(kiln_fd fd)
{
	flock(fd, LOCK_UN);
}
