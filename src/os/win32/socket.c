/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local sockets: AF_UNIX, which Windows has since 1803, though without descriptors
 * that travel, without the peer's user and without pairs. A pair is made of TCP over
 * loopback, checked to be connected to itself and to nobody else.
 */
#include "win32.h"

#include "err.h"

#include <afunix.h>
#include <errno.h>
#include <string.h>
#include <ws2tcpip.h>

static BOOL CALLBACK start(PINIT_ONCE once, PVOID parameter, PVOID *context)
{
	WSADATA data;

	(void)once;
	(void)parameter;
	(void)context;
	return WSAStartup(MAKEWORD(2, 2), &data) == 0;
}

int kiln__win32_start_sockets(kiln_error *err)
{
	static INIT_ONCE once = INIT_ONCE_STATIC_INIT;

	if (InitOnceExecuteOnce(&once, start, NULL, NULL))
		return 0;
	return kiln__fail(err, KILN_ESYSTEM, "cannot start Winsock");
}

static int fail(kiln_error *err, const char *what, const char *path)
{
	return kiln__win32_fail(err, (DWORD)WSAGetLastError(), "%s%s", what, path);
}

/* A socket that children do not inherit. */
static int make_socket(SOCKET *ret, int family, kiln_error *err)
{
	SOCKET made;
	int r = kiln__win32_start_sockets(err);

	if (r < 0)
		return r;
	made = WSASocketW(family, SOCK_STREAM, 0, NULL, 0,
			  WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
	if (made == INVALID_SOCKET && WSAGetLastError() == WSAEAFNOSUPPORT)
		return kiln__fail(err, KILN_ENOTSUP, "this Windows has no local sockets (AF_UNIX)");
	if (made == INVALID_SOCKET)
		return fail(err, "cannot make a socket", "");
	*ret = made;
	return 0;
}

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

/* Who may connect is who may write the socket's file: its directory's rights, inherited. */
int kiln__os_local_listen(kiln_fd *ret, const char *path, kiln_error *err)
{
	struct sockaddr_un addr;
	u_long on = 1;
	SOCKET made;
	int r = fill_address(&addr, path, err);

	if (r == 0)
		r = make_socket(&made, AF_UNIX, err);
	if (r < 0)
		return r;
	if (bind(made, (const struct sockaddr *)&addr, sizeof(addr)) != 0) {
		r = WSAGetLastError() == WSAEADDRINUSE
			    ? kiln__fail(err, KILN_EEXIST, "%s is there already", path)
			    : fail(err, "cannot listen at ", path);
	} else if (listen(made, SOMAXCONN) != 0 || ioctlsocket(made, (long)FIONBIO, &on) != 0) {
		r = fail(err, "cannot listen at ", path);
		kiln__os_remove(path, NULL);
	}
	if (r < 0) {
		closesocket(made);
		return r;
	}
	*ret = (kiln_fd)made;
	return 0;
}

static int local_connect(kiln_fd *ret, const char *path, bool wait, kiln_error *err)
{
	struct kiln__os_stat st;
	struct sockaddr_un addr;
	u_long on = 1;
	SOCKET made;
	int r = fill_address(&addr, path, err);

	if (r == 0)
		r = make_socket(&made, AF_UNIX, err);
	if (r < 0)
		return r;
	if (!wait)
		ioctlsocket(made, (long)FIONBIO, &on);
	if (connect(made, (const struct sockaddr *)&addr, sizeof(addr)) == 0) {
		*ret = (kiln_fd)made;
		return 0;
	}
	if (!wait && WSAGetLastError() == WSAEWOULDBLOCK) {
		closesocket(made);
		return kiln__fail(err, KILN_EBUSY, "the listener at %s is busy", path);
	}
	r = fail(err, "cannot connect to ", path);
	closesocket(made);
	/* Winsock says "refused" to both. */
	r = kiln__os_stat(path, &st, NULL) == KILN_ENOENT ? KILN_ENOENT : KILN_EDIED;
	if (err)
		err->code = r;
	return r;
}

int kiln__os_local_connect(kiln_fd *ret, const char *path, kiln_error *err)
{
	return local_connect(ret, path, true, err);
}

int kiln__os_local_try_connect(kiln_fd *ret, const char *path, kiln_error *err)
{
	return local_connect(ret, path, false, err);
}

int kiln__os_datagram_connect(kiln_fd *ret, const char *own, const char *path, kiln_error *err)
{
	(void)ret;
	(void)own;
	return kiln__fail(err, KILN_ENOTSUP, "Windows has no datagrams to a local socket: %s",
			  path);
}

int kiln__os_accept(kiln_fd *ret, kiln_fd listener, kiln_error *err)
{
	u_long off = 0;
	SOCKET made;

	do
		made = accept((SOCKET)listener, NULL, NULL);
	while (made == INVALID_SOCKET && WSAGetLastError() == WSAECONNRESET);
	if (made == INVALID_SOCKET && WSAGetLastError() == WSAEWOULDBLOCK)
		return kiln__fail(err, KILN_ENOENT, "no connection is waiting");
	if (made == INVALID_SOCKET)
		return fail(err, "cannot accept a connection", "");
	/* It has the listener's mode and, unlike that, may be inherited. */
	ioctlsocket(made, (long)FIONBIO, &off);
	SetHandleInformation((HANDLE)made, HANDLE_FLAG_INHERIT, 0);
	*ret = (kiln_fd)made;
	return 0;
}

/* --- pairs ----------------------------------------------------------------------------- */

static bool bind_loopback(SOCKET listener, struct sockaddr_in *addr)
{
	int len = sizeof(*addr);

	*addr = (struct sockaddr_in){.sin_family = AF_INET};
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return bind(listener, (const struct sockaddr *)addr, sizeof(*addr)) == 0 &&
	       listen(listener, 1) == 0 &&
	       getsockname(listener, (struct sockaddr *)addr, &len) == 0;
}

/* Whether the connection accepted is the one that we made: any process may connect to loopback. */
static bool is_ours(SOCKET client, SOCKET server)
{
	struct sockaddr_in here;
	struct sockaddr_in there;
	int here_len = sizeof(here);
	int there_len = sizeof(there);

	return getsockname(client, (struct sockaddr *)&here, &here_len) == 0 &&
	       getpeername(server, (struct sockaddr *)&there, &there_len) == 0 &&
	       here.sin_port == there.sin_port && here.sin_addr.s_addr == there.sin_addr.s_addr;
}

static SOCKET accept_ours(SOCKET listener, SOCKET client)
{
	for (;;) {
		SOCKET server = accept(listener, NULL, NULL);

		if (server == INVALID_SOCKET || is_ours(client, server))
			return server;
		closesocket(server);
	}
}

static void send_at_once(SOCKET socket)
{
	DWORD on = 1;

	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof(on));
}

int kiln__os_socket_pair(kiln_fd ret[2], kiln_error *err)
{
	SOCKET listener;
	SOCKET client = INVALID_SOCKET;
	SOCKET server = INVALID_SOCKET;
	struct sockaddr_in addr;
	int r = make_socket(&listener, AF_INET, err);

	if (r < 0)
		return r;
	r = make_socket(&client, AF_INET, err);
	if (r == 0 && bind_loopback(listener, &addr) &&
	    connect(client, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		server = accept_ours(listener, client);
	if (r == 0 && server == INVALID_SOCKET)
		r = fail(err, "cannot make a socket pair", "");
	closesocket(listener);
	if (r < 0) {
		if (client != INVALID_SOCKET)
			closesocket(client);
		return r;
	}
	SetHandleInformation((HANDLE)server, HANDLE_FLAG_INHERIT, 0);
	send_at_once(client);
	send_at_once(server);
	ret[0] = (kiln_fd)client;
	ret[1] = (kiln_fd)server;
	return 0;
}

/* --- what others have -------------------------------------------------------------------- */

int kiln__os_peer_user(kiln_fd fd, uint32_t *ret_uid, kiln_error *err)
{
	(void)fd;
	(void)ret_uid;
	return kiln__fail(err, KILN_ENOTSUP, "Windows has no user ids of a local socket's peer");
}

/* There the rights on the directory that the socket lies in are all that there is. */
int kiln__os_check_peer_is(kiln_fd fd, uint32_t user, kiln_error *err)
{
	(void)user;
	return kiln__os_check_peer(fd, err);
}

int kiln__os_check_peer(kiln_fd fd, kiln_error *err)
{
	(void)fd;
	(void)err;
	return 0;
}

void kiln__os_shutdown_write(kiln_fd fd)
{
	shutdown((SOCKET)fd, SD_SEND);
}

ssize_t kiln__os_send_fds(kiln_fd socket, const void *bytes, size_t len, const kiln_fd *fds,
			  size_t count)
{
	(void)fds;
	/*
	 * No SCM_RIGHTS; handles go to a process by DuplicateHandle(), which is a protocol's
	 * business.
	 */
	return count ? -ENOTSUP : kiln__os_write(socket, bytes, len);
}

ssize_t kiln__os_recv_fds(kiln_fd socket, void *bytes, size_t len, kiln_fd *fds, size_t *count)
{
	ssize_t n = kiln__os_read(socket, bytes, len);

	(void)fds;
	if (n >= 0)
		*count = 0;
	return n;
}
