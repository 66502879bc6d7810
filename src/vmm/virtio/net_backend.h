/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moves a guest's frames: a TAP interface, or a stream socket to passt. A frame here is what
 * virtio has in a buffer: struct virtio_net_hdr_v1, 12 bytes (5.1.6), then the Ethernet frame.
 *
 * All functions are for the thread of the loop.
 */
#ifndef KILN_VMM_NET_BACKEND_H
#define KILN_VMM_NET_BACKEND_H

#include <kiln/error.h>

#include "fd.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Feature bits (5.1.3). */
#define KILN__NET_F_CSUM       (1ULL << 0)
#define KILN__NET_F_GUEST_CSUM (1ULL << 1)
#define KILN__NET_F_MTU        (1ULL << 3)
#define KILN__NET_F_MAC        (1ULL << 5)
#define KILN__NET_F_GUEST_TSO4 (1ULL << 7)
#define KILN__NET_F_GUEST_TSO6 (1ULL << 8)
#define KILN__NET_F_GUEST_ECN  (1ULL << 9)
#define KILN__NET_F_HOST_TSO4  (1ULL << 11)
#define KILN__NET_F_HOST_TSO6  (1ULL << 12)
#define KILN__NET_F_HOST_ECN   (1ULL << 13)
#define KILN__NET_F_MRG_RXBUF  (1ULL << 15)
#define KILN__NET_F_STATUS     (1ULL << 16)

#define KILN__NET_HEADER 12u
/* The largest frame, with offloads (5.1.6.3.1), and its header. */
#define KILN__NET_MAX_FRAME (KILN__NET_HEADER + 65550u)

struct kiln__net_backend;

struct kiln__net_backend_ops {
	/* The driver accepted these features: what it does not understand is not to come. */
	int (*negotiated)(struct kiln__net_backend *backend, uint64_t features);

	/*
	 * Takes one frame. 0; -EAGAIN if it is full: the descriptor becomes writable when there is
	 * room; another negative errno if the frame is no good, and dropped; -EPIPE if
	 * nothing works any more.
	 */
	int (*send)(struct kiln__net_backend *backend, const struct iovec *iov, int count);

	/* After some frames: what was gathered goes out. 0, or -EAGAIN and -EPIPE as above. NULL:
	 * at once.
	 */
	int (*flush)(struct kiln__net_backend *backend);

	/*
	 * The next frame into the memory given, which is large enough: its size; -EAGAIN if there
	 * is none: the descriptor becomes readable; -EPIPE.
	 */
	ssize_t (*receive)(struct kiln__net_backend *backend, const struct iovec *iov, int count);

	void (*free)(struct kiln__net_backend *backend);
};

/* Embedded as the first member by an implementation. */
struct kiln__net_backend {
	const struct kiln__net_backend_ops *ops;
	uint64_t features; /* that it makes possible: checksums and segmentation */
	kiln_fd fd;        /* to watch */
	kiln_fd vhost;     /* of /dev/vhost-net, for a back-end that the kernel can serve; or
			      KILN_FD_NONE */
};

static inline void kiln__net_backend_free(struct kiln__net_backend *backend)
{
	if (backend)
		backend->ops->free(backend);
}

/*
 * The TAP interface @name, which is there and may be used (KILN_ENOENT, KILN_EACCES, KILN_EBUSY).
 * With @vhost it is served by the kernel, where that has /dev/vhost-net and lets us.
 */
int kiln__net_tap_open(struct kiln__net_backend **ret, const char *name, bool vhost,
		       kiln_error *err);

/* The same as a descriptor alone, for whoever serves it. */
int kiln__net_tap_attach(kiln_fd *ret, const char *name, kiln_error *err);

/* An open descriptor of a TAP interface: owned from here on, on success. */
int kiln__net_tap_take(struct kiln__net_backend **ret, kiln_fd fd, bool vhost, kiln_error *err);

/* A connected stream socket to passt (or QEMU's "stream" netdev): owned from here on, on success.
 */
int kiln__net_stream_take(struct kiln__net_backend **ret, kiln_fd fd, kiln_error *err);

#endif
