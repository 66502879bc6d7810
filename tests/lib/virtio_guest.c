/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio_guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD ((size_t)65536)

static void notify(void *data, unsigned queue)
{
	struct virtio_guest *guest = data;

	guest->notified[queue]++;
}

static void needs_reset(void *data, unsigned queue, const char *fault)
{
	struct virtio_guest *guest = data;

	(void)queue;
	guest->needs_reset++;
	guest->fault = fault;
}

static void config_changed(void *data)
{
	struct virtio_guest *guest = data;

	guest->config_changes++;
}

static int queue_fds(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call)
{
	struct virtio_guest *guest = data;

	return guest->queue_fds ? guest->queue_fds(guest, queue, ret_kick, ret_call) : KILN_ENOTSUP;
}

static const struct kiln__virtio_transport transport = {
	.notify = notify,
	.needs_reset = needs_reset,
	.config_changed = config_changed,
	.queue_fds = queue_fds,
};

static void lay_out(struct virtio_guest *guest, uint64_t features, uint16_t ring)
{
	struct kiln__virtio *device = guest->device;
	uint64_t at = 4096;

	features &= device->ops->features;
	if (kiln__virtio_negotiate(device, features, NULL) < 0)
		abort();
	for (unsigned i = 0; i < device->ops->queue_count; i++) {
		uint16_t size = device->queues[i].max_size;

		if (size > ring)
			size = ring;
		at = vring_init(&guest->rings[i], guest->memory, at, size,
				features & KILN__VIRTIO_F_EVENT_IDX);
		vring_describe(&guest->rings[i], &device->queues[i]);
	}
	if (at > VG_BUFFERS)
		abort();
	guest->at = VG_BUFFERS;
}

void virtio_guest_init_in(struct virtio_guest *guest, struct kiln__virtio *device,
			  uint64_t features, uint16_t ring, unsigned char *memory)
{
	memset(guest, 0, sizeof(*guest));
	guest->memory = memory;
	guest->high = memory + VG_MEMORY + GUARD;
	guest->borrowed = true;
	guest->device = device;
	if (kiln__gmem_add(&guest->gmem, 0, VG_SEAM, memory, NULL) < 0 ||
	    kiln__gmem_add(&guest->gmem, VG_SEAM, VG_MEMORY - VG_SEAM, memory + VG_SEAM, NULL) <
		    0 ||
	    kiln__gmem_add(&guest->gmem, VG_HIGH, VG_HIGH_LEN, guest->high, NULL) < 0)
		abort();
	kiln__virtio_attach(device, &transport, guest);
	lay_out(guest, features, ring);
}

unsigned char *virtio_guest_memory(void)
{
	size_t len = VG_MEMORY + VG_HIGH_LEN + 3 * GUARD;
	unsigned char *at = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || mprotect(at + GUARD, VG_MEMORY, PROT_READ | PROT_WRITE) < 0 ||
	    mprotect(at + 2 * GUARD + VG_MEMORY, VG_HIGH_LEN, PROT_READ | PROT_WRITE) < 0)
		abort();
	return at + GUARD;
}

void virtio_guest_init(struct virtio_guest *guest, struct kiln__virtio *device, uint64_t features,
		       uint16_t ring)
{
	virtio_guest_init_in(guest, device, features, ring, virtio_guest_memory());
	guest->borrowed = false;
	virtio_guest_start(guest);
}

void virtio_guest_start(struct virtio_guest *guest)
{
	for (unsigned i = 0; i < guest->device->ops->queue_count; i++)
		if (!guest->device->queues[i].ready &&
		    kiln__virtio_queue_start(guest->device, i, &guest->gmem,
					     guest->device->queues[i].next_avail, NULL) < 0)
			abort();
}

void virtio_guest_stop(struct virtio_guest *guest)
{
	for (unsigned i = 0; i < guest->device->ops->queue_count; i++)
		kiln__virtio_queue_stop(guest->device, i);
}

void virtio_guest_restart(struct virtio_guest *guest, uint64_t features, uint16_t ring)
{
	kiln__virtio_reset(guest->device);
	lay_out(guest, features, ring);
	virtio_guest_start(guest);
}

void virtio_guest_done(struct virtio_guest *guest)
{
	kiln__virtio_reset(guest->device);
	kiln__virtio_attach(guest->device, NULL, NULL);
	if (!guest->borrowed)
		munmap(guest->memory - GUARD, VG_MEMORY + VG_HIGH_LEN + 3 * GUARD);
	guest->memory = NULL;
}

uint64_t virtio_guest_alloc(struct virtio_guest *guest, size_t len, size_t align)
{
	uint64_t at = (guest->at + align - 1) / align * align;

	if (at + len > VG_MEMORY)
		at = VG_BUFFERS;
	if (at + len > VG_MEMORY)
		abort();
	guest->at = at + len;
	return at;
}

unsigned char *virtio_guest_at(struct virtio_guest *guest, uint64_t gpa)
{
	return gpa >= VG_HIGH ? guest->high + (gpa - VG_HIGH) : guest->memory + gpa;
}

void virtio_guest_kick(struct virtio_guest *guest, unsigned queue)
{
	if (!vring_wants_kick(&guest->rings[queue]))
		return;
	guest->kicks++;
	kiln__virtio_kick(guest->device, queue);
}

int virtio_guest_send(struct virtio_guest *guest, unsigned queue, const struct vring_part *parts,
		      unsigned out, unsigned in)
{
	int head = vring_add(&guest->rings[queue], parts, out, in);

	if (head >= 0)
		virtio_guest_kick(guest, queue);
	return head;
}
