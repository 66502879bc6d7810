/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between QEMU and the vsock device, so that the machine can be saved: QEMU saves none with a
 * back-end that cannot log what it writes to guest memory. A log is only for a guest that runs
 * meanwhile, and a stand-in saves paused ones. So the relay says to QEMU that there is a log, takes
 * it when it comes, and says nothing of it to the device.
 *
 * Messages are passed on whole, with their descriptors (QEMU's docs/interop/vhost-user.rst), on the
 * loop's thread. Both ends are this test's own; a message that is too long ends the process.
 */
#include "vsock_relay.h"

#include "vhost_user_msg.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define F_LOG_ALL            (1ULL << 26) /* a feature of vhost's, not of the device's */
#define PROTOCOL_F_LOG_SHMFD (1ULL << 1)
#define RING_F_LOG           1u
#define MAX_FDS              8

struct packet {
	struct kiln__vu_msg msg;
	int fds[MAX_FDS];
	size_t fd_count;
};

static void give_up(const char *why)
{
	fprintf(stderr, "vsock relay: %s\n", why);
	_exit(1);
}

/* A peer that has closed has ended the machine, and this process with it. */
static void receive(int fd, struct packet *packet)
{
	char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
	struct iovec iov = {&packet->msg, sizeof(packet->msg.header)};
	struct msghdr head = {.msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &head, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	struct cmsghdr *cmsg;

	if (n <= 0)
		_exit(0);
	if (n != (ssize_t)sizeof(packet->msg.header) ||
	    packet->msg.header.size > sizeof(packet->msg) - sizeof(packet->msg.header))
		give_up("a message that is none");
	packet->fd_count = 0;
	cmsg = CMSG_FIRSTHDR(&head);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
		packet->fd_count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(packet->fds, CMSG_DATA(cmsg), packet->fd_count * sizeof(int));
	}
	n = packet->msg.header.size;
	if (n > 0 && recv(fd, (char *)&packet->msg + iov.iov_len, (size_t)n, MSG_WAITALL) != n)
		give_up("half a message");
}

static void pass_on(int fd, struct packet *packet)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {&packet->msg, sizeof(packet->msg.header) + packet->msg.header.size};
	struct msghdr head = {.msg_iov = &iov, .msg_iovlen = 1};

	if (packet->fd_count) {
		head.msg_control = &control;
		head.msg_controllen = CMSG_SPACE(packet->fd_count * sizeof(int));
		control.header = (struct cmsghdr){CMSG_LEN(packet->fd_count * sizeof(int)),
						  SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), packet->fds, packet->fd_count * sizeof(int));
	}
	if (sendmsg(fd, &head, MSG_NOSIGNAL) < 0)
		_exit(0);
	for (size_t i = 0; i < packet->fd_count; i++)
		close(packet->fds[i]);
}

/* True if it was for the relay alone. */
static bool take_log(struct relay *relay, struct packet *packet)
{
	struct kiln__vu_msg *msg = &packet->msg;

	switch (msg->header.request) {
	case KILN__VU_SET_FEATURES:
		msg->u64 &= ~F_LOG_ALL;
		return false;
	case KILN__VU_SET_PROTOCOL_FEATURES:
		msg->u64 &= ~PROTOCOL_F_LOG_SHMFD;
		return false;
	case KILN__VU_SET_VRING_ADDR:
		msg->addr.flags &= ~RING_F_LOG;
		return false;
	case KILN__VU_SET_LOG_BASE:
		for (size_t i = 0; i < packet->fd_count; i++)
			close(packet->fds[i]);
		packet->fd_count = 0;
		msg->header.flags = KILN__VU_VERSION | KILN__VU_REPLY;
		msg->header.size = sizeof(msg->u64);
		msg->u64 = 0;
		pass_on(relay->qemu, packet);
		return true;
	default:
		return false;
	}
}

static void from_qemu(void *data, int events)
{
	struct relay *relay = data;
	struct packet packet;

	(void)events;
	receive(relay->qemu, &packet);
	if (!take_log(relay, &packet))
		pass_on(relay->device, &packet);
}

static void from_device(void *data, int events)
{
	struct relay *relay = data;
	struct packet packet;

	(void)events;
	receive(relay->device, &packet);
	if (packet.msg.header.request == KILN__VU_GET_FEATURES)
		packet.msg.u64 |= F_LOG_ALL;
	else if (packet.msg.header.request == KILN__VU_GET_PROTOCOL_FEATURES)
		packet.msg.u64 |= PROTOCOL_F_LOG_SHMFD;
	pass_on(relay->qemu, &packet);
}

int relay_start(struct relay *relay, kiln_loop *loop, kiln_fd qemu, kiln_fd *ret_device,
		kiln_error *err)
{
	struct kiln__watch *watch;
	int ends[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return KILN_EIO;
	*relay = (struct relay){.qemu = qemu, .device = ends[0]};
	*ret_device = ends[1];
	r = kiln__watch_new(&watch, loop, qemu, from_qemu, relay, err);
	if (r < 0)
		return r;
	kiln__watch_set(watch, KILN__READABLE);
	r = kiln__watch_new(&watch, loop, relay->device, from_device, relay, err);
	if (r == 0)
		kiln__watch_set(watch, KILN__READABLE);
	return r;
}
