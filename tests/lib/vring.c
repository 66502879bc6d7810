/* SPDX-License-Identifier: Apache-2.0 */
#include "vring.h"

#include <string.h>

uint64_t vring_init(struct vring *ring, unsigned char *memory, uint64_t gpa, uint16_t size,
		    bool event_idx)
{
	memset(ring, 0, sizeof(*ring));
	ring->memory = memory;
	ring->size = size;
	ring->event_idx = event_idx;
	ring->desc_gpa = (gpa + 15) & ~15ULL;
	ring->avail_gpa = ring->desc_gpa + 16ULL * size;
	ring->used_gpa = (ring->avail_gpa + 6 + 2ULL * size + 3) & ~3ULL;
	ring->desc = (struct vring_desc *)(void *)(memory + ring->desc_gpa);
	ring->avail = (uint16_t *)(void *)(memory + ring->avail_gpa);
	ring->used = (uint16_t *)(void *)(memory + ring->used_gpa);
	memset(ring->desc, 0, 16ULL * size);
	memset(ring->avail, 0, 6 + 2ULL * size);
	memset(ring->used, 0, 6 + 8ULL * size);
	for (uint16_t i = 0; i < size; i++)
		ring->desc[i].next = (uint16_t)(i + 1);
	ring->free_count = size;
	return ring->used_gpa + 6 + 8ULL * size;
}

void vring_describe(const struct vring *ring, struct kiln__queue *queue)
{
	queue->size = ring->size;
	queue->desc_gpa = ring->desc_gpa;
	queue->avail_gpa = ring->avail_gpa;
	queue->used_gpa = ring->used_gpa;
}

int vring_add(struct vring *ring, const struct vring_part *parts, unsigned out, unsigned in)
{
	uint16_t head = ring->free_head;
	uint16_t at = head;

	if (ring->free_count < out + in)
		return -1;
	for (unsigned i = 0; i < out + in; i++) {
		struct vring_desc *desc = &ring->desc[at];

		desc->addr = parts[i].gpa;
		desc->len = parts[i].len;
		desc->flags = (uint16_t)((i >= out ? VRING_WRITE : 0) |
					 (i + 1 < out + in ? VRING_NEXT : 0));
		at = desc->next;
	}
	ring->free_head = at;
	ring->free_count = (uint16_t)(ring->free_count - out - in);
	vring_offer(ring, head);
	return head;
}

void vring_offer(struct vring *ring, uint16_t head)
{
	ring->avail[2 + ring->avail[1] % ring->size] = head;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	ring->avail[1]++;
}

bool vring_wants_kick(struct vring *ring)
{
	uint16_t now = ring->avail[1];
	uint16_t old = ring->kicked_at;
	uint16_t event = ring->used[2 + ring->size * 4];

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ring->kicked_at = now;
	if (ring->event_idx)
		return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	return now != old && !(ring->used[0] & 1);
}

int vring_take(struct vring *ring, uint32_t *ret_len)
{
	const uint16_t *entry = ring->used + 2 + (ring->last_used % ring->size) * 4;
	uint16_t head = entry[0];
	uint16_t at = head;
	uint16_t count = 1;

	if (ring->used[1] == ring->last_used)
		return -1;
	memcpy(ret_len, entry + 2, sizeof(*ret_len));
	ring->last_used++;
	while (ring->desc[at].flags & VRING_NEXT) {
		at = ring->desc[at].next;
		count++;
	}
	ring->desc[at].next = ring->free_head;
	ring->free_head = head;
	ring->free_count = (uint16_t)(ring->free_count + count);
	return head;
}

void vring_ask_interrupt(struct vring *ring)
{
	ring->avail[2 + ring->size] = ring->last_used;
}
