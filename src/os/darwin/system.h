/* SPDX-License-Identifier: Apache-2.0 */
/* macOS's side of posix.h: what is one line here and several elsewhere. */
#ifndef KILN_OS_DARWIN_SYSTEM_H
#define KILN_OS_DARWIN_SYSTEM_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

/* Sockets are made with SO_NOSIGPIPE instead. */
#define KILN__POSIX_SEND_FLAGS 0
#define KILN__POSIX_RECV_FLAGS 0

/*
 * There is no MSG_CMSG_CLOEXEC: posix_spawn()'s POSIX_SPAWN_CLOEXEC_DEFAULT closes the gap for our
 * children.
 */
static inline void kiln__posix_received(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static inline int64_t kiln__posix_mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtimespec.tv_sec * 1000000000 + st->st_mtimespec.tv_nsec;
}

#endif
