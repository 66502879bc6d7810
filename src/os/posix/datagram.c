/* SPDX-License-Identifier: Apache-2.0 */
/* A local datagram socket with a name of its own, so that its peer can answer. */
#include "posix.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Frames wait here while the other side is busy: some hundred of an Ethernet's. */
#define SEND_BYTES    (1024 * 1024)
#define RECEIVE_BYTES (4 * SEND_BYTES)

static int fill(struct sockaddr_un *addr, const char *path, kiln_error *err)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!path[0] || strlen(path) >= sizeof(addr->sun_path))
		return kiln__fail(err, KILN_EOVERFLOW, "socket path %s is longer than %zu bytes",
				  path, sizeof(addr->sun_path) - 1);
	memcpy(addr->sun_path, path, strlen(path));
	return 0;
}

int kiln__os_datagram_connect(kiln_fd *ret, const char *own, const char *path, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct sockaddr_un here;
	struct sockaddr_un there;
	int bytes = SEND_BYTES;
	int r = fill(&here, own, err);

	if (r == 0)
		r = fill(&there, path, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return kiln__fail_errno(err, errno, "cannot make a socket");
	/* As far as the system lets it. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	bytes = RECEIVE_BYTES;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (bind(fd, (const struct sockaddr *)&here, sizeof(here)) < 0)
		return kiln__fail_errno(err, errno, "cannot make the socket %s", own);
	if (connect(fd, (const struct sockaddr *)&there, sizeof(there)) < 0) {
		r = kiln__fail_errno(err, errno, "cannot connect to %s", path);
		unlink(own);
		return r;
	}
	*ret = kiln__take_fd(&fd);
	return 0;
}
