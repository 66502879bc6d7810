/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock_guest.h"

#include <stdlib.h>
#include <string.h>

static void notify(void *data, unsigned queue)
{
	struct vsock_guest *guest = data;

	guest->notified[queue]++;
}

static void needs_reset(void *data, unsigned queue, const char *fault)
{
	struct vsock_guest *guest = data;

	(void)queue;
	guest->needs_reset++;
	guest->fault = fault;
}

static const struct kiln__virtio_transport transport = {notify, needs_reset};

void vsock_guest_init(struct vsock_guest *guest, struct kiln__virtio *device, uint64_t features)
{
	vsock_guest_init_in(guest, device, features, calloc(1, GUEST_MEMORY));
}

void vsock_guest_init_in(struct vsock_guest *guest, struct kiln__virtio *device, uint64_t features,
			 unsigned char *memory)
{
	bool event_idx = features & KILN__VIRTIO_F_EVENT_IDX;
	uint64_t at;

	memset(guest, 0, sizeof(*guest));
	guest->memory = memory;
	guest->device = device;
	if (!guest->memory ||
	    kiln__gmem_add(&guest->gmem, 0, GUEST_MEMORY, guest->memory, NULL) < 0 ||
	    kiln__virtio_negotiate(device, features, NULL) < 0)
		abort();
	at = vring_init(&guest->rx, guest->memory, 4096, GUEST_RING, event_idx);
	at = vring_init(&guest->tx, guest->memory, at, GUEST_RING, event_idx);
	at = vring_init(&guest->event, guest->memory, at, 16, event_idx);
	guest->rx_gpa = (at + 8191) & ~8191ULL;
	guest->tx_gpa = guest->rx_gpa + (uint64_t)GUEST_RING * 8192;
	guest->event_gpa = guest->tx_gpa + (uint64_t)GUEST_RING * (65536 + 64);
	kiln__virtio_attach(device, &transport, guest);
	vring_describe(&guest->rx, &device->queues[KILN__VSOCK_RX]);
	vring_describe(&guest->tx, &device->queues[KILN__VSOCK_TX]);
	vring_describe(&guest->event, &device->queues[KILN__VSOCK_EVENT]);
}

void vsock_guest_done(struct vsock_guest *guest)
{
	kiln__virtio_reset(guest->device);
	kiln__virtio_attach(guest->device, NULL, NULL);
	free(guest->memory);
}

void vsock_guest_start(struct vsock_guest *guest)
{
	for (unsigned i = 0; i < KILN__VSOCK_QUEUES; i++)
		if (kiln__virtio_queue_start(guest->device, i, &guest->gmem,
					     guest->device->queues[i].next_avail, NULL) < 0)
			abort();
}

void vsock_guest_give_buffers(struct vsock_guest *guest, unsigned count)
{
	uint32_t header = sizeof(struct kiln__vsock_header);

	for (unsigned i = 0; i < count; i++) {
		/* Two descriptors, header and payload, as Linux before 6.3. */
		uint64_t at = guest->rx_gpa + (uint64_t)guest->rx.free_head * 8192;
		struct vring_part parts[] = {{at, header}, {at + 64, GUEST_RX_BYTES}};

		if (vring_add(&guest->rx, parts, 0, 2) < 0)
			break;
	}
	if (vring_wants_kick(&guest->rx))
		kiln__virtio_kick(guest->device, KILN__VSOCK_RX);
}

struct kiln__vsock_header vsock_guest_header(uint32_t port, uint32_t host_port, uint16_t op)
{
	return (struct kiln__vsock_header){
		.src_cid = GUEST_CID,
		.dst_cid = KILN__VSOCK_HOST_CID,
		.src_port = port,
		.dst_port = host_port,
		.type = KILN__VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = GUEST_BUF_ALLOC,
	};
}

bool vsock_guest_send(struct vsock_guest *guest, const struct kiln__vsock_header *header,
		      const void *payload, size_t len)
{
	uint64_t at;
	struct kiln__vsock_header wire = *header;
	uint32_t used;

	while (vring_take(&guest->tx, &used) >= 0)
		;
	at = guest->tx_gpa + (uint64_t)guest->tx.free_head * (65536 + 64);
	wire.len = (uint32_t)len;
	memcpy(guest->memory + at, &wire, sizeof(wire));
	if (len)
		memcpy(guest->memory + at + 64, payload, len);
	struct vring_part parts[] = {{at, sizeof(wire)}, {at + 64, (uint32_t)len}};

	if (vring_add(&guest->tx, parts, len ? 2 : 1, 0) < 0)
		return false;
	if (vring_wants_kick(&guest->tx))
		kiln__virtio_kick(guest->device, KILN__VSOCK_TX);
	return true;
}

bool vsock_guest_receive(struct vsock_guest *guest, struct vsock_packet *ret, bool refill)
{
	uint32_t len;
	int head = vring_take(&guest->rx, &len);
	uint64_t at = guest->rx_gpa + (uint64_t)head * 8192;

	if (head < 0)
		return false;
	memcpy(&ret->header, guest->memory + at, sizeof(ret->header));
	if (ret->header.len != len - sizeof(ret->header) || ret->header.len > GUEST_RX_BYTES)
		abort();
	memcpy(ret->payload, guest->memory + at + 64, ret->header.len);
	if (refill)
		vsock_guest_give_buffers(guest, 1);
	return true;
}
