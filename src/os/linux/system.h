/* SPDX-License-Identifier: Apache-2.0 */
/* Linux's side of posix.h: what is one line here and several elsewhere. */
#ifndef KILN_OS_LINUX_SYSTEM_H
#define KILN_OS_LINUX_SYSTEM_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define KILN__POSIX_SEND_FLAGS MSG_NOSIGNAL
#define KILN__POSIX_RECV_FLAGS MSG_CMSG_CLOEXEC

/* Descriptors are received close-on-exec already. */
static inline void kiln__posix_received(int fd)
{
	(void)fd;
}

static inline int64_t kiln__posix_mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

#endif
