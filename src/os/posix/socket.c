/* SPDX-License-Identifier: Apache-2.0 */
/* Local sockets, and descriptors sent through them. */
#include "posix.h"

#include "err.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* What connect() may be given differs between systems, and is declared there. */
KILN__SYSCALLS(shutdown, sendmsg, recvmsg, close);

static int fill_address(struct sockaddr_un *addr, const char *path, kiln_error *err)
{
	size_t len = strlen(path);

	if (len == 0)
		return kiln__fail(err, KILN_EINVAL, "a local socket needs a path");
	if (len >= sizeof(addr->sun_path))
		return kiln__fail(err, KILN_EOVERFLOW, "socket path %s is longer than %zu bytes",
				  path, sizeof(addr->sun_path) - 1);
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, path, len);
	return 0;
}

int kiln__os_local_listen(kiln_fd *ret, const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct sockaddr_un addr;
	int r = fill_address(&addr, path, err);

	if (r < 0)
		return r;
	fd = kiln__posix_local_socket(true);
	if (fd < 0)
		return kiln__fail_errno(err, -fd, "cannot make a socket");
	r = kiln__posix_bind_private(fd, &addr);
	if (r < 0)
		return r == -EADDRINUSE ? kiln__fail(err, KILN_EEXIST, "%s is there already", path)
					: kiln__fail_errno(err, -r, "cannot listen at %s", path);
	if (listen(fd, SOMAXCONN) < 0) {
		r = kiln__fail_errno(err, errno, "cannot listen at %s", path);
		unlink(path);
		return r;
	}
	*ret = kiln__take_fd(&fd);
	return 0;
}

static int local_connect(kiln_fd *ret, const char *path, bool wait, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct sockaddr_un addr;
	int r = fill_address(&addr, path, err);

	if (r < 0)
		return r;
	fd = kiln__posix_local_socket(false);
	if (fd < 0)
		return kiln__fail_errno(err, -fd, "cannot make a socket");
	if (!wait && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return kiln__fail_errno(err, errno, "cannot make a socket");
	do
		r = connect(fd, (const struct sockaddr *)&addr, sizeof(addr));
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		int code = errno;

		if (code == EAGAIN || code == EINPROGRESS)
			return kiln__fail(err, KILN_EBUSY, "the listener at %s is busy", path);
		r = kiln__fail_errno(err, code, "cannot connect to %s", path);
		if (code == ECONNREFUSED) {
			r = KILN_EDIED;
			if (err)
				err->code = r;
		}
		return r;
	}
	*ret = kiln__take_fd(&fd);
	return 0;
}

int kiln__os_local_connect(kiln_fd *ret, const char *path, kiln_error *err)
{
	return local_connect(ret, path, true, err);
}

int kiln__os_local_try_connect(kiln_fd *ret, const char *path, kiln_error *err)
{
	return local_connect(ret, path, false, err);
}

int kiln__os_accept(kiln_fd *ret, kiln_fd listener, kiln_error *err)
{
	int fd;

	do
		fd = kiln__posix_accept(listener);
	while (fd == -EINTR || fd == -ECONNABORTED);
	if (fd == -EAGAIN)
		return kiln__fail(err, KILN_ENOENT, "no connection is waiting");
	if (fd < 0)
		return kiln__fail_errno(err, -fd, "cannot accept a connection");
	*ret = fd;
	return 0;
}

void kiln__os_shutdown_write(kiln_fd fd)
{
	shutdown(fd, SHUT_WR);
}

union control {
	struct cmsghdr header; /* for its alignment */
	char space[CMSG_SPACE(sizeof(int) * KILN__OS_MAX_FDS)];
};

ssize_t kiln__os_send_fds(kiln_fd socket, const void *bytes, size_t len, const kiln_fd *fds,
			  size_t count)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {0};
	ssize_t n;

	if (count == 0)
		return kiln__os_write(socket, bytes, len);
	if (count > KILN__OS_MAX_FDS || len == 0)
		return -EINVAL;
	msg.msg_control = control.space;
	msg.msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * count);
	CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&msg)->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, sizeof(int) * count);
	do
		n = sendmsg(socket, &msg, KILN__POSIX_SEND_FLAGS);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Takes the descriptors of @msg into @fds, and closes those beyond @max. Returns how many there
 * were.
 */
static size_t take_fds(struct msghdr *msg, kiln_fd *fds, size_t max)
{
	size_t total = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++, total++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			kiln__posix_received(fd);
			if (total < max)
				fds[total] = fd;
			else
				close(fd);
		}
	}
	return total;
}

ssize_t kiln__os_recv_fds(kiln_fd socket, void *bytes, size_t len, kiln_fd *fds, size_t *count)
{
	struct iovec iov = {bytes, len};
	union control control = {0};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	size_t max = *count;
	size_t total;
	ssize_t n;

	do
		n = recvmsg(socket, &msg, KILN__POSIX_RECV_FLAGS);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	total = take_fds(&msg, fds, max);
	/* The kernel itself drops what the control buffer has no room for. */
	if (total > max || (msg.msg_flags & MSG_CTRUNC)) {
		for (size_t i = 0; i < total && i < max; i++)
			close(fds[i]);
		return -EMSGSIZE;
	}
	*count = total;
	return n;
}

/* --- what others have -------------------------------------------------------------------- */

int kiln__os_check_peer_is(kiln_fd fd, uint32_t user, kiln_error *err)
{
	uint32_t peer;
	int r = kiln__os_peer_user(fd, &peer, err);

	if (r < 0 || peer == user)
		return r;
	return kiln__fail(err, KILN_EACCES, "a local socket is served by another user, %u",
			  (unsigned)peer);
}

int kiln__os_check_peer(kiln_fd fd, kiln_error *err)
{
	return kiln__os_check_peer_is(fd, geteuid(), err);
}
