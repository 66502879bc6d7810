/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TAP interface as a network back-end: one system call a frame, the header passed through
 * (IFF_VNET_HDR), checksums and segmentation left to whoever can do them. The interface must be
 * there: making one is an administrator's doing. No threads; what the guest says in headers is
 * checked by the kernel, as it is for any process.
 */
#include "err.h"
#include "net_backend.h"
#include "os.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

KILN__SYSCALLS(readv, writev, ioctl(1 = 0x400454d0)); /* TUNSETOFFLOAD */

_Static_assert(TUNSETOFFLOAD == 0x400454d0, "as declared");

#define OFFLOADS (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)

#define OFFLOAD_FEATURES                                                                           \
	(KILN__NET_F_CSUM | KILN__NET_F_GUEST_CSUM | KILN__NET_F_GUEST_TSO4 |                      \
	 KILN__NET_F_GUEST_TSO6 | KILN__NET_F_GUEST_ECN | KILN__NET_F_HOST_TSO4 |                  \
	 KILN__NET_F_HOST_TSO6 | KILN__NET_F_HOST_ECN)

static int negotiated(struct kiln__net_backend *backend, uint64_t features)
{
	unsigned flags = 0;

	if (!backend->features)
		return 0;
	if (features & KILN__NET_F_GUEST_CSUM) {
		flags |= TUN_F_CSUM;
		if (features & KILN__NET_F_GUEST_TSO4)
			flags |= TUN_F_TSO4;
		if (features & KILN__NET_F_GUEST_TSO6)
			flags |= TUN_F_TSO6;
		if ((features & KILN__NET_F_GUEST_ECN) && (flags & (TUN_F_TSO4 | TUN_F_TSO6)))
			flags |= TUN_F_TSO_ECN;
	}
	return ioctl(backend->fd, TUNSETOFFLOAD, (unsigned long)flags) < 0 ? -errno : 0;
}

/* EBADFD: the interface was deleted. An interface that is down (EIO) may come up again. */
static int result_of(int code)
{
	if (code == EAGAIN || code == EWOULDBLOCK)
		return -EAGAIN;
	return code == EBADFD || code == EBADF ? -EPIPE : -code;
}

static int tap_send(struct kiln__net_backend *backend, const struct iovec *iov, int count)
{
	ssize_t n;

	do {
		n = writev(backend->fd, iov, count);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? result_of(errno) : 0;
}

static ssize_t tap_receive(struct kiln__net_backend *backend, const struct iovec *iov, int count)
{
	ssize_t n;

	do {
		n = readv(backend->fd, iov, count);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? result_of(errno) : n;
}

static void tap_free(struct kiln__net_backend *backend)
{
	kiln__os_close(backend->fd);
	kiln__os_close(backend->vhost);
	free(backend);
}

static const struct kiln__net_backend_ops tap_ops = {
	.negotiated = negotiated,
	.send = tap_send,
	.receive = tap_receive,
	.free = tap_free,
};

/* --- opening ------------------------------------------------------------------------- */

static int check_tap(kiln_fd fd, kiln_error *err)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	if (ioctl(fd, TUNGETIFF, &request) < 0)
		return kiln__fail(err, KILN_EINVAL, "net: the descriptor is no TAP interface");
	if (!(request.ifr_flags & IFF_TAP) || !(request.ifr_flags & IFF_VNET_HDR))
		return kiln__fail(err, KILN_EINVAL,
				  "net: %s is not a TAP interface with IFF_VNET_HDR",
				  request.ifr_name);
	return 0;
}

int kiln__net_tap_take(struct kiln__net_backend **ret, kiln_fd fd, bool vhost, kiln_error *err)
{
	struct kiln__net_backend *backend;
	int header = KILN__NET_HEADER;
	int r = check_tap(fd, err);

	if (r == 0)
		r = kiln__os_set_nonblocking(fd, true, err);
	if (r < 0)
		return r;
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return kiln__fail_errno(err, errno, "net: cannot set the TAP interface's header");
	backend = calloc(1, sizeof(*backend));
	if (!backend)
		return kiln__fail_nomem(err);
	backend->ops = &tap_ops;
	backend->fd = fd;
	backend->vhost = KILN_FD_NONE;
	if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)OFFLOADS) == 0) {
		backend->features = OFFLOAD_FEATURES;
		ioctl(fd, TUNSETOFFLOAD, 0ul); /* until the driver says what it can do */
	}
	if (vhost) /* without it, or without the right to it: by hand */
		backend->vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	*ret = backend;
	return 0;
}

static bool interface_exists(const char *name)
{
	struct ifreq request;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool exists;

	memset(&request, 0, sizeof(request));
	memcpy(request.ifr_name, name, strlen(name));
	exists = fd >= 0 && ioctl(fd, SIOCGIFINDEX, &request) == 0;
	kiln__os_close(fd);
	return exists;
}

static int fail_attach(const char *name, int code, kiln_error *err)
{
	if (code == EPERM || code == EACCES) {
		kiln__fail(err, KILN_EACCES, "net: no permission for TAP interface %s", name);
		return kiln__hint(err, "ip tuntap add dev %s mode tap user \"$USER\"", name);
	}
	if (code == EBUSY)
		return kiln__fail(err, KILN_EBUSY, "net: TAP interface %s is in use", name);
	if (code == EINVAL)
		return kiln__fail(err, KILN_EINVAL, "net: %s is not a TAP interface", name);
	return kiln__fail_errno(err, code, "net: cannot use TAP interface %s", name);
}

int kiln__net_tap_attach(kiln_fd *ret, const char *name, kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	struct ifreq request;

	if (!name[0] || strlen(name) >= sizeof(request.ifr_name))
		return kiln__fail(err, KILN_EINVAL, "net: \"%s\" is no name of an interface", name);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return kiln__fail_errno(err, errno, "net: cannot open /dev/net/tun");
	/* Else whoever has the right would make one here, which nothing is connected to. */
	if (!interface_exists(name)) {
		kiln__fail(err, KILN_ENOENT, "net: there is no TAP interface %s", name);
		return kiln__hint(err, "ip tuntap add dev %s mode tap user \"$USER\"", name);
	}
	memset(&request, 0, sizeof(request));
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	memcpy(request.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return fail_attach(name, errno, err);
	*ret = kiln__take_fd(&fd);
	return 0;
}

int kiln__net_tap_open(struct kiln__net_backend **ret, const char *name, bool vhost,
		       kiln_error *err)
{
	kiln__autoclose kiln_fd fd = KILN_FD_NONE;
	int r = kiln__net_tap_attach(&fd, name, err);

	if (r < 0)
		return r;
	r = kiln__net_tap_take(ret, fd, vhost, err);
	if (r == 0)
		kiln__take_fd(&fd);
	return r;
}
