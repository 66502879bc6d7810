/* SPDX-License-Identifier: Apache-2.0 */
#include "shortio.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#define WRAPPED(type, name, ...)                                                                   \
	type __real_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)

static bool active;
static bool files_too;
static uint32_t random_state;
static unsigned long count;

void shortio_start(uint32_t seed, bool files)
{
	random_state = seed;
	files_too = files;
	count = 0;
	active = true;
}

void shortio_stop(void)
{
	active = false;
}

unsigned long shortio_count(void)
{
	return count;
}

__attribute__((constructor)) static void start_by_environment(void)
{
	const char *seed = getenv("KILN_TEST_SHORTIO");

	if (seed)
		shortio_start((uint32_t)strtoul(seed, NULL, 10), false);
}

/* Numerical Recipes' linear congruential generator; its high bits are the good ones. */
static uint32_t draw(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)random_state * below >> 32);
}

/* Event descriptors are read and written whole or not at all. */
static bool is_ours(int fd)
{
	struct stat st;

	if (!active || fstat(fd, &st) < 0)
		return false;
	return S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode) ||
	       (files_too && S_ISREG(st.st_mode));
}

/* A quarter is interrupted, half is cut short. Returns false for the former. */
static bool disturb(int fd, size_t *len)
{
	uint32_t fate;

	if (!is_ours(fd))
		return true;
	fate = draw(4);
	if (fate == 0) {
		count++;
		errno = EINTR;
		return false;
	}
	if (fate < 3 && *len > 1) {
		count++;
		*len = 1 + draw(*len < 65536 ? (uint32_t)*len : 65536);
	}
	return true;
}

WRAPPED(ssize_t, read, int fd, void *bytes, size_t len)
{
	return disturb(fd, &len) ? __real_read(fd, bytes, len) : -1;
}

WRAPPED(ssize_t, write, int fd, const void *bytes, size_t len)
{
	return disturb(fd, &len) ? __real_write(fd, bytes, len) : -1;
}

WRAPPED(ssize_t, pread64, int fd, void *bytes, size_t len, off_t offset)
{
	return disturb(fd, &len) ? __real_pread64(fd, bytes, len, offset) : -1;
}

WRAPPED(ssize_t, pwrite64, int fd, const void *bytes, size_t len, off_t offset)
{
	return disturb(fd, &len) ? __real_pwrite64(fd, bytes, len, offset) : -1;
}

WRAPPED(ssize_t, recv, int fd, void *bytes, size_t len, int flags)
{
	return disturb(fd, &len) ? __real_recv(fd, bytes, len, flags) : -1;
}

WRAPPED(ssize_t, send, int fd, const void *bytes, size_t len, int flags)
{
	return disturb(fd, &len) ? __real_send(fd, bytes, len, flags) : -1;
}

/* Of several pieces the first, or a part of it. */
WRAPPED(ssize_t, sendmsg, int fd, const struct msghdr *msg, int flags)
{
	struct msghdr part = *msg;
	size_t len = msg->msg_iovlen ? msg->msg_iov[0].iov_len : 0;
	size_t whole = len;
	struct iovec first;

	if (!disturb(fd, &len))
		return -1;
	if (len == whole)
		return __real_sendmsg(fd, msg, flags);
	first = (struct iovec){msg->msg_iov[0].iov_base, len};
	part.msg_iov = &first;
	part.msg_iovlen = 1;
	return __real_sendmsg(fd, &part, flags);
}

WRAPPED(ssize_t, recvmsg, int fd, struct msghdr *msg, int flags)
{
	size_t len = msg->msg_iovlen == 1 ? msg->msg_iov[0].iov_len : 0;
	size_t whole = len;
	struct iovec *given = msg->msg_iov;
	struct iovec part;
	ssize_t n;

	if (!disturb(fd, &len))
		return -1;
	if (len == whole)
		return __real_recvmsg(fd, msg, flags);
	part = (struct iovec){given->iov_base, len};
	msg->msg_iov = &part;
	n = __real_recvmsg(fd, msg, flags);
	msg->msg_iov = given;
	return n;
}

WRAPPED(int, accept4, int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	size_t nothing = 1;

	return disturb(fd, &nothing) ? __real_accept4(fd, address, len, flags) : -1;
}

WRAPPED(int, ftruncate64, int fd, off_t size)
{
	size_t nothing = 1;

	return disturb(fd, &nothing) ? __real_ftruncate64(fd, size) : -1;
}
