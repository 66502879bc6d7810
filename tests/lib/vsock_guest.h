/* SPDX-License-Identifier: Apache-2.0 */
/* A vsock driver in memory: rings, receive buffers and packets, as a test wants them. */
#ifndef TESTS_LIB_VSOCK_GUEST_H
#define TESTS_LIB_VSOCK_GUEST_H

#include "vring.h"
#include "vsock.h"
#include "vsock_packet.h"

#define GUEST_CID       3
#define GUEST_RING      64
#define GUEST_MEMORY    ((size_t)8 << 20)
#define GUEST_RX_BYTES  4096 /* payload of a receive buffer, as in Linux */
#define GUEST_BUF_ALLOC 65536

struct vsock_guest {
	unsigned char *memory;
	struct kiln__gmem gmem;
	struct kiln__virtio *device;
	struct vring rx;
	struct vring tx;
	struct vring event;
	uint64_t rx_gpa; /* buffer of descriptor i: rx_gpa + i * 8192 */
	uint64_t tx_gpa;
	uint64_t event_gpa;
	unsigned notified[KILN__VSOCK_QUEUES];
	unsigned needs_reset;
	const char *fault;
};

/* A packet received, payload included. */
struct vsock_packet {
	struct kiln__vsock_header header;
	unsigned char payload[GUEST_RX_BYTES];
};

void vsock_guest_init(struct vsock_guest *guest, struct kiln__virtio *device, uint64_t features);

/* The same in GUEST_MEMORY bytes that are malloc'ed and the guest's from here on. */
void vsock_guest_init_in(struct vsock_guest *guest, struct kiln__virtio *device, uint64_t features,
			 unsigned char *memory);
void vsock_guest_done(struct vsock_guest *guest);

/* Starts (or starts again) the rings where they are. */
void vsock_guest_start(struct vsock_guest *guest);

/* Puts up to @count receive buffers up and kicks if the device wants it. */
void vsock_guest_give_buffers(struct vsock_guest *guest, unsigned count);

/* Sends a packet; the header is complete but for the length. False if the ring is full. */
bool vsock_guest_send(struct vsock_guest *guest, const struct kiln__vsock_header *header,
		      const void *payload, size_t len);

/* A header of the guest's for a connection between its @port and the host's @host_port. */
struct kiln__vsock_header vsock_guest_header(uint32_t port, uint32_t host_port, uint16_t op);

/* Takes the next packet that was received; its buffer is given back at once if @refill. False if
 * there is none. */
bool vsock_guest_receive(struct vsock_guest *guest, struct vsock_packet *ret, bool refill);

#endif
