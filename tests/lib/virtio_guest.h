/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport and a driver in memory for any device model: rings, buffers and what the
 * device told. Guest memory is in two pieces with a hole between, and the first consists of two
 * regions that touch, so that buffers can lie across all of these.
 */
#ifndef TESTS_LIB_VIRTIO_GUEST_H
#define TESTS_LIB_VIRTIO_GUEST_H

#include "virtio.h"
#include "vring.h"

#define VG_MEMORY   ((size_t)16 << 20)  /* from 0 on; the rings lie in its first MiB */
#define VG_SEAM     ((uint64_t)8 << 20) /* where one region ends and the next begins */
#define VG_BUFFERS  ((uint64_t)1 << 20)
#define VG_HIGH     ((uint64_t)1 << 32) /* a page-sized region beyond the hole */
#define VG_HIGH_LEN 65536u

struct virtio_guest {
	unsigned char *memory; /* VG_MEMORY bytes; between and around the pieces is nothing */
	unsigned char *high;   /* VG_HIGH_LEN bytes */
	bool borrowed;
	struct kiln__gmem gmem;
	struct kiln__virtio *device;
	struct vring rings[KILN__VIRTIO_MAX_QUEUES];
	uint64_t at; /* where virtio_guest_alloc() goes on */
	unsigned notified[KILN__VIRTIO_MAX_QUEUES];
	unsigned kicks;
	unsigned config_changes;
	unsigned needs_reset;
	const char *fault;
	/* What queue_fds gives, if set. */
	int (*queue_fds)(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call);
};

/* Negotiates @features (those that the device has), makes rings of up to @ring entries, starts
 * them. */
void virtio_guest_init(struct virtio_guest *guest, struct kiln__virtio *device, uint64_t features,
		       uint16_t ring);

/* The same in the memory of an earlier one (all but its rings as that left it), without starting.
 */
void virtio_guest_init_in(struct virtio_guest *guest, struct kiln__virtio *device,
			  uint64_t features, uint16_t ring, unsigned char *memory);

/* Memory for that, which is never freed. */
unsigned char *virtio_guest_memory(void);
void virtio_guest_start(struct virtio_guest *guest);
void virtio_guest_stop(struct virtio_guest *guest);

/* Resets the device, and sets it up anew. */
void virtio_guest_restart(struct virtio_guest *guest, uint64_t features, uint16_t ring);

/* Resets the device, parts from it, frees the memory (of virtio_guest_init() alone). */
void virtio_guest_done(struct virtio_guest *guest);

/* Room in guest memory, aligned; begins anew at the end, so do not hold on to too much. */
uint64_t virtio_guest_alloc(struct virtio_guest *guest, size_t len, size_t align);

/* The test's view of guest memory. */
unsigned char *virtio_guest_at(struct virtio_guest *guest, uint64_t gpa);

/* Kicks if the device wants it. */
void virtio_guest_kick(struct virtio_guest *guest, unsigned queue);

/* Adds a chain and kicks: its head, or -1 if the ring is full. */
int virtio_guest_send(struct virtio_guest *guest, unsigned queue, const struct vring_part *parts,
		      unsigned out, unsigned in);

#endif
