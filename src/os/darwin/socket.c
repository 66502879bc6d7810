/* SPDX-License-Identifier: Apache-2.0 */
/* Local sockets where macOS has calls of its own. */
#include "posix.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Close-on-exec in a call of its own: between the two another thread may fork. What
 * this library spawns does not get it all the same (POSIX_SPAWN_CLOEXEC_DEFAULT).
 */
static int prepare(int fd)
{
	int on = 1;

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) == 0)
		return 0;
	return -errno;
}

static int prepared(int fd)
{
	int r;

	if (fd < 0)
		return -errno;
	r = prepare(fd);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

int kiln__posix_local_socket(bool nonblocking)
{
	int fd = prepared(socket(AF_UNIX, SOCK_STREAM, 0));

	if (fd >= 0 && nonblocking && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
		int code = -errno;

		close(fd);
		return code;
	}
	return fd;
}

int kiln__posix_accept(int listener)
{
	int fd = prepared(accept(listener, NULL, NULL));

	/* It is non-blocking as the listener is, here. */
	if (fd >= 0)
		kiln__os_set_nonblocking(fd, false, NULL);
	return fd;
}

int kiln__posix_bind_private(int fd, const struct sockaddr_un *addr)
{
	int code;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return -errno;
	/* Nobody can connect until the caller's listen(). */
	if (chmod(addr->sun_path, 0600) == 0)
		return 0;
	code = errno;
	unlink(addr->sun_path);
	return -code;
}

int kiln__os_socket_pair(kiln_fd ret[2], kiln_error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return kiln__fail_errno(err, errno, "cannot make a socket pair");
	for (int i = 0; i < 2; i++) {
		int r = prepare(pair[i]);

		if (r < 0) {
			close(pair[0]);
			close(pair[1]);
			return kiln__fail_errno(err, -r, "cannot make a socket pair");
		}
	}
	ret[0] = pair[0];
	ret[1] = pair[1];
	return 0;
}

int kiln__os_peer_user(kiln_fd fd, uint32_t *ret_uid, kiln_error *err)
{
	uid_t uid;
	gid_t gid;

	if (getpeereid(fd, &uid, &gid) < 0)
		return kiln__fail_errno(err, errno, "cannot tell who is at the other end");
	*ret_uid = uid;
	return 0;
}
