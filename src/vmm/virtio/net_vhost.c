/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-net (Linux, include/uapi/linux/vhost.h). The kernel gets the memory table, the rings and
 * the transport's descriptors, does the work in a thread of its own, and says at the stop how far
 * it came. It checks what the guest says by the same table, so it reaches no memory but the
 * guest's.
 */
#include "net_vhost.h"

#include "err.h"
#include "net_backend.h"
#include "syscalls.h"

#include <errno.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE. */
KILN__SYSCALLS(ioctl(1 = 0x8008af00), ioctl(1 = 0x4008af00), ioctl(1 = 0xaf01),
	       ioctl(1 = 0x4008af03));
/* SET_VRING_NUM, _ADDR, _BASE; GET_VRING_BASE; SET_VRING_KICK, _CALL; NET_SET_BACKEND. */
KILN__SYSCALLS(ioctl(1 = 0x4008af10), ioctl(1 = 0x4028af11), ioctl(1 = 0x4008af12),
	       ioctl(1 = 0xc008af12), ioctl(1 = 0x4008af20), ioctl(1 = 0x4008af21),
	       ioctl(1 = 0x4008af30));

_Static_assert(VHOST_GET_FEATURES == 0x8008af00 && VHOST_SET_FEATURES == 0x4008af00 &&
		       VHOST_SET_OWNER == 0xaf01 && VHOST_SET_MEM_TABLE == 0x4008af03,
	       "as declared");
_Static_assert(VHOST_SET_VRING_NUM == 0x4008af10 && VHOST_SET_VRING_ADDR == 0x4028af11 &&
		       VHOST_SET_VRING_BASE == 0x4008af12 && VHOST_GET_VRING_BASE == 0xc008af12 &&
		       VHOST_SET_VRING_KICK == 0x4008af20 && VHOST_SET_VRING_CALL == 0x4008af21 &&
		       VHOST_NET_SET_BACKEND == 0x4008af30,
	       "as declared");

#define QUEUES 2u

/* Of what a driver accepts, what the kernel has to know. */
#define KERNEL_FEATURES (KILN__VIRTIO_RING_FEATURES | KILN__NET_F_MRG_RXBUF)

struct kiln__net_vhost {
	kiln_fd fd;
	struct kiln__virtio *device;
	unsigned taken; /* queues whose descriptors the transport has given */
};

static int control(const struct kiln__net_vhost *vhost, unsigned long request, void *arg,
		   const char *what, kiln_error *err)
{
	if (ioctl(vhost->fd, request, arg) < 0)
		return kiln__fail_errno(err, errno, "vhost-net: cannot set %s", what);
	return 0;
}

static int set_features(struct kiln__net_vhost *vhost, kiln_error *err)
{
	uint64_t wanted = vhost->device->features & KERNEL_FEATURES;
	uint64_t there = 0;
	int r = control(vhost, VHOST_GET_FEATURES, &there, "features", err);

	if (r < 0)
		return r;
	if (wanted & ~there)
		return kiln__fail(err, KILN_ENOTSUP, "vhost-net: this kernel lacks features");
	return control(vhost, VHOST_SET_FEATURES, &wanted, "features", err);
}

static int set_memory(struct kiln__net_vhost *vhost, const struct kiln__gmem *mem, kiln_error *err)
{
	union {
		struct vhost_memory table;
		unsigned char bytes[sizeof(struct vhost_memory) +
				    KILN__GMEM_MAX_REGIONS * sizeof(struct vhost_memory_region)];
	} m;

	memset(&m, 0, sizeof(m));
	m.table.nregions = mem->count;
	for (unsigned i = 0; i < mem->count; i++) {
		m.table.regions[i].guest_phys_addr = mem->regions[i].gpa;
		m.table.regions[i].memory_size = mem->regions[i].size;
		m.table.regions[i].userspace_addr = (uint64_t)(uintptr_t)mem->regions[i].host;
	}
	return control(vhost, VHOST_SET_MEM_TABLE, &m.table, "memory", err);
}

static uint64_t address_of(const struct kiln__queue *queue, uint64_t gpa)
{
	return (uint64_t)(uintptr_t)kiln__gmem_ptr(queue->mem, gpa, 1);
}

static int set_queue(struct kiln__net_vhost *vhost, unsigned index, kiln_error *err)
{
	const struct kiln__queue *queue = &vhost->device->queues[index];
	struct vhost_vring_state num = {.index = index, .num = queue->size};
	struct vhost_vring_state base = {.index = index, .num = queue->next_avail};
	struct vhost_vring_addr addr = {.index = index,
					.desc_user_addr = address_of(queue, queue->desc_gpa),
					.avail_user_addr = address_of(queue, queue->avail_gpa),
					.used_user_addr = address_of(queue, queue->used_gpa)};
	struct vhost_vring_file kick = {.index = index};
	struct vhost_vring_file call = {.index = index};
	int r = kiln__virtio_queue_fds(vhost->device, index, &kick.fd, &call.fd);

	if (r < 0)
		return kiln__fail(err, r, "vhost-net: the queue has no descriptors");
	vhost->taken = index + 1;
	r = control(vhost, VHOST_SET_VRING_NUM, &num, "ring size", err);
	if (r == 0)
		r = control(vhost, VHOST_SET_VRING_BASE, &base, "ring position", err);
	if (r == 0)
		r = control(vhost, VHOST_SET_VRING_ADDR, &addr, "ring addresses", err);
	if (r == 0)
		r = control(vhost, VHOST_SET_VRING_KICK, &kick, "kick descriptor", err);
	if (r == 0)
		r = control(vhost, VHOST_SET_VRING_CALL, &call, "call descriptor", err);
	return r;
}

static int set_up(struct kiln__net_vhost *vhost, kiln_fd tap, kiln_error *err)
{
	int r = 0;

	/* It remembers its owner from the first time (EBUSY), which is this process. */
	if (ioctl(vhost->fd, VHOST_SET_OWNER, NULL) < 0 && errno != EBUSY)
		return kiln__fail_errno(err, errno, "vhost-net: cannot own it");
	r = set_features(vhost, err);
	if (r == 0)
		r = set_memory(vhost, vhost->device->queues[0].mem, err);
	for (unsigned i = 0; r == 0 && i < QUEUES; i++)
		r = set_queue(vhost, i, err);
	for (unsigned i = 0; r == 0 && i < QUEUES; i++) {
		struct vhost_vring_file file = {.index = i, .fd = tap};

		r = control(vhost, VHOST_NET_SET_BACKEND, &file, "interface", err);
	}
	return r;
}

int kiln__net_vhost_start(struct kiln__net_vhost **ret, kiln_fd fd, kiln_fd tap,
			  struct kiln__virtio *device, kiln_error *err)
{
	struct kiln__net_vhost *vhost = calloc(1, sizeof(*vhost));
	int r;

	if (!vhost)
		return kiln__fail_nomem(err);
	vhost->fd = fd;
	vhost->device = device;
	r = set_up(vhost, tap, err);
	if (r < 0) {
		kiln__net_vhost_stop(vhost);
		return r;
	}
	*ret = vhost;
	return 0;
}

void kiln__net_vhost_stop(struct kiln__net_vhost *vhost)
{
	if (!vhost)
		return;
	for (unsigned i = 0; i < vhost->taken; i++) {
		struct vhost_vring_file none = {.index = i, .fd = -1};
		struct vhost_vring_state base = {.index = i};

		/* After the first of these it touches the ring no more. */
		ioctl(vhost->fd, VHOST_NET_SET_BACKEND, &none);
		if (ioctl(vhost->fd, VHOST_GET_VRING_BASE, &base) == 0)
			kiln__queue_move(&vhost->device->queues[i], (uint16_t)base.num);
		ioctl(vhost->fd, VHOST_SET_VRING_KICK, &none);
		ioctl(vhost->fd, VHOST_SET_VRING_CALL, &none);
		kiln__virtio_queue_fds(vhost->device, i, NULL, NULL);
	}
	free(vhost);
}
