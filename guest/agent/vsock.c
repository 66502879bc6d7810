/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock.h"

#include "err.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/*
 * Only who may administer the network can send from a port below this (vsock has
 * privileged ports as TCP has): the host can tell the agent from any other program
 * that connects to its boot port.
 */
#define PRIVILEGED_PORTS 1024

int vsock_listen(uint32_t port, kiln_error *err)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return kiln__fail_errno(err, errno, "no vsock in this kernel");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 64) < 0) {
		kiln__fail_errno(err, errno, "cannot listen on vsock port %u", port);
		close(fd);
		return err ? err->code : KILN_ESYSTEM;
	}
	return fd;
}

int vsock_connect_host(uint32_t port, bool *ret_connecting)
{
	struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return -errno;
	for (addr.svm_port = PRIVILEGED_PORTS - 1; addr.svm_port > 0; addr.svm_port--)
		if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno != EADDRINUSE)
			break;
	addr.svm_cid = VMADDR_CID_HOST;
	addr.svm_port = port;
	*ret_connecting = false;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	error = errno;
	if (error == EINPROGRESS) {
		*ret_connecting = true;
		return fd;
	}
	close(fd);
	return -error;
}

bool vsock_is_host(int fd)
{
	struct sockaddr_vm addr;
	socklen_t len = sizeof(addr);

	return getpeername(fd, (struct sockaddr *)&addr, &len) == 0 && len >= sizeof(addr) &&
	       addr.svm_family == AF_VSOCK && addr.svm_cid == VMADDR_CID_HOST;
}
