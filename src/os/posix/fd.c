/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: reading and writing whole, duplicates, flags. */
#include "posix.h"

#include "err.h"
#include "files.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* F_SETFD is for what was inherited, before anything else. */
KILN__SYSCALLS(close, read, write, pread64, pwrite64, ftruncate, fstat, newfstatat);
KILN__SYSCALLS(fcntl(1 = F_GETFL), fcntl(1 = F_SETFL), fcntl(1 = F_DUPFD_CLOEXEC));

void kiln__os_close(kiln_fd fd)
{
	int saved = errno;

	/* Not repeated on EINTR: the descriptor is gone then on Linux and macOS alike. */
	if (fd >= 0)
		close(fd);
	errno = saved;
}

bool kiln__os_is_at(kiln_fd fd, kiln_fd dir, const char *name)
{
	struct stat by_fd, by_name;

	return fstat(fd, &by_fd) == 0 && fstatat(dir, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
	       by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev;
}

ssize_t kiln__os_read(kiln_fd fd, void *bytes, size_t len)
{
	ssize_t n;

	do
		n = read(fd, bytes, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t kiln__os_read_full(kiln_fd fd, void *bytes, size_t len, kiln_error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = kiln__os_read(fd, (char *)bytes + done, len - done);

		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int kiln__os_write_full(kiln_fd fd, const void *bytes, size_t len, kiln_error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = kiln__os_write(fd, (const char *)bytes + done, len - done);

		if (n < 0)
			return kiln__fail_errno(err, (int)-n, "cannot write");
		done += (size_t)n;
	}
	return 0;
}

int kiln__os_append_full(kiln_fd file, const void *bytes, size_t len, kiln_error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(file, (const char *)bytes + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kiln__fail_errno(err, errno, "cannot write");
		done += (size_t)n;
	}
	return 0;
}

static int check_range(uint64_t offset, size_t len, kiln_error *err)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, len, &end) || end > INT64_MAX)
		return kiln__fail(err, KILN_EOVERFLOW, "file offset out of range");
	return 0;
}

ssize_t kiln__os_pread_full(kiln_fd fd, void *bytes, size_t len, uint64_t offset, kiln_error *err)
{
	size_t done = 0;
	int r = check_range(offset, len, err);

	if (r < 0)
		return r;
	while (done < len) {
		ssize_t n = pread(fd, (char *)bytes + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kiln__fail_errno(err, errno, "cannot read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int kiln__os_pwrite_full(kiln_fd fd, const void *bytes, size_t len, uint64_t offset,
			 kiln_error *err)
{
	size_t done = 0;
	int r = check_range(offset, len, err);

	if (r < 0)
		return r;
	while (done < len) {
		ssize_t n =
			pwrite(fd, (const char *)bytes + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kiln__fail_errno(err, errno, "cannot write");
		done += (size_t)n;
	}
	return 0;
}

int kiln__os_set_size(kiln_fd fd, uint64_t size, kiln_error *err)
{
	int r = check_range(size, 0, err);

	if (r < 0)
		return r;
	do
		r = ftruncate(fd, (off_t)size);
	while (r < 0 && errno == EINTR);
	return r < 0 ? kiln__fail_errno(err, errno, "cannot set a file's size") : 0;
}

unsigned kiln__os_raise_descriptor_limit(unsigned wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < wanted) {
		limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur < UINT_MAX ? (unsigned)limit.rlim_cur : UINT_MAX;
}

int kiln__os_set_nonblocking(kiln_fd fd, bool on, kiln_error *err)
{
	int flags = fcntl(fd, F_GETFL);
	int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;

	if (flags >= 0 && (wanted == flags || fcntl(fd, F_SETFL, wanted) == 0))
		return 0;
	return kiln__fail_errno(err, errno, "cannot make a descriptor %sblocking",
				on ? "non-" : "");
}

bool kiln__os_is_socket(kiln_fd fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

int kiln__os_dup(kiln_fd *ret, kiln_fd fd, kiln_error *err)
{
	/* From 3 on: a duplicate never becomes a standard stream by accident. */
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return kiln__fail_errno(err, errno, "cannot duplicate a descriptor");
	*ret = copy;
	return 0;
}

int kiln__os_inherited(kiln_fd *ret, int number, kiln_error *err)
{
	if (fcntl(number, F_SETFD, FD_CLOEXEC) < 0) /* there is no other flag */
		return kiln__fail_errno(err, errno, "descriptor %d was not handed over", number);
	*ret = number;
	return 0;
}
