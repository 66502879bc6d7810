/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and files where Linux has calls of its own. */
#include "posix.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* sendto: as send() does it, to no address. */
KILN__SYSCALLS(sendto(4 = 0), write, openat2);

ssize_t kiln__os_write(kiln_fd fd, const void *bytes, size_t len)
{
	ssize_t n;

	do
		n = send(fd, bytes, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0 || errno != ENOTSOCK)
		return n < 0 ? -errno : n;
	do
		n = write(fd, bytes, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int kiln__os_open_beneath(kiln_fd *ret, kiln_fd root, const char *path, unsigned flags,
			  kiln_error *err)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)kiln__posix_open_flags(flags),
		.mode = flags & KILN__OPEN_CREATE ? 0600 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/*
	 * EAGAIN: a rename anywhere made the kernel unsure about ".."; openat2(2) says try again.
	 */
	do
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd < 0 && errno == EXDEV)
		return kiln__fail(err, KILN_EACCES, "%s leads out of its directory", path);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "cannot open %s", path);
	*ret = (kiln_fd)fd;
	return 0;
}

int kiln__os_shared_memory(kiln_fd *ret, const char *label, uint64_t size, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;

	if (size > INT64_MAX)
		return kiln__fail(err, KILN_EOVERFLOW, "shared memory size out of range");
	fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return kiln__fail_errno(err, errno, "cannot make %llu bytes of shared memory",
					(unsigned long long)size);
	/* Who gets the descriptor could otherwise shrink it, and our next access be a SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return kiln__fail_errno(err, errno, "cannot seal shared memory");
	*ret = kiln__take_fd(&fd);
	return 0;
}
