/* SPDX-License-Identifier: Apache-2.0 */
/* Local sockets where Linux has calls of its own. */
#include "posix.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * Only local stream sockets (SOCK_STREAM | SOCK_CLOEXEC); listeners are made before.
 * connect() takes a path: an abstract name would have the length that it was bound with,
 * which is hardly ever that of a whole struct sockaddr_un.
 */
KILN__SYSCALLS(socket(0 = AF_UNIX 1 = 0x80001), accept4(3 = 0x80000), connect(2 = 110));
KILN__SYSCALLS(getsockopt(1 = SOL_SOCKET 2 = SO_PEERCRED));
_Static_assert((SOCK_STREAM | SOCK_CLOEXEC) == 0x80001 && SOCK_CLOEXEC == 0x80000 &&
		       sizeof(struct sockaddr_un) == 110,
	       "as declared");

int kiln__posix_local_socket(bool nonblocking)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	return fd < 0 ? -errno : fd;
}

int kiln__posix_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kiln__posix_bind_private(int fd, const struct sockaddr_un *addr)
{
	/* The file that bind() makes takes its mode from the socket: no moment with a wider one. */
	if (fchmod(fd, 0600) < 0)
		return -errno;
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
}

int kiln__os_socket_pair(kiln_fd ret[2], kiln_error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return kiln__fail_errno(err, errno, "cannot make a socket pair");
	ret[0] = pair[0];
	ret[1] = pair[1];
	return 0;
}

int kiln__os_peer_user(kiln_fd fd, uint32_t *ret_uid, kiln_error *err)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return kiln__fail_errno(err, errno, "cannot tell who is at the other end");
	*ret_uid = peer.uid;
	return 0;
}
