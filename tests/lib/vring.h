/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a split virtqueue, as Linux does it: a free list of
 * descriptors, chains put up and taken back. Its parts are plain memory, so a test can
 * also write what no driver would.
 */
#ifndef TESTS_LIB_VRING_H
#define TESTS_LIB_VRING_H

#include "queue.h"

struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define VRING_NEXT     1
#define VRING_WRITE    2
#define VRING_INDIRECT 4

struct vring {
	unsigned char *memory; /* guest address 0 lies here */
	uint16_t size;
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;
	struct vring_desc *desc;
	uint16_t *avail; /* flags, idx, ring[], used_event */
	uint16_t *used;  /* flags, idx, ring[] of 4, avail_event */
	uint16_t free_head;
	uint16_t free_count;
	uint16_t last_used;
	bool event_idx;
	uint16_t kicked_at; /* avail idx as of the last kick */
};

struct vring_part {
	uint64_t gpa;
	uint32_t len;
};

/* Lays a ring out at @gpa; returns the address behind it. */
uint64_t vring_init(struct vring *ring, unsigned char *memory, uint64_t gpa, uint16_t size,
		    bool event_idx);

/* Tells the device's queue where the ring is. */
void vring_describe(const struct vring *ring, struct kiln__queue *queue);

/* Puts up a chain: @out parts that the device reads, then @in that it writes. -1 if descriptors ran
 * out; else the head. */
int vring_add(struct vring *ring, const struct vring_part *parts, unsigned out, unsigned in);

/* Makes the head of a chain that is in the table already available. */
void vring_offer(struct vring *ring, uint16_t head);

/* Whether the device wants to be kicked for what was added since the last time. */
bool vring_wants_kick(struct vring *ring);

/* Takes back a used chain: its head, or -1 if there is none. */
int vring_take(struct vring *ring, uint32_t *ret_len);

/* With EVENT_IDX: asks for an interrupt with the next used chain. */
void vring_ask_interrupt(struct vring *ring);

#endif
