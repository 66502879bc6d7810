/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 300
#define RING      16

uint8_t hostile_byte(struct hostile *hostile)
{
	return hostile->at < hostile->end ? *hostile->at++ : 0;
}

uint16_t hostile_u16(struct hostile *hostile)
{
	uint16_t low = hostile_byte(hostile);

	return (uint16_t)(low | hostile_byte(hostile) << 8);
}

uint32_t hostile_u32(struct hostile *hostile)
{
	uint32_t low = hostile_u16(hostile);

	return low | (uint32_t)hostile_u16(hostile) << 16;
}

uint32_t hostile_len(struct hostile *hostile)
{
	static const uint32_t lens[] = {0,     1,     8,     10,       11,       12,
					15,    16,    17,    26,       64,       511,
					512,   513,   1024,  4096,     4097,     8192,
					65536, 65562, 65563, 1u << 20, 8u << 20, UINT32_MAX};
	uint8_t what = hostile_byte(hostile);

	return what < 3 * sizeof(lens) / sizeof(lens[0]) ? lens[what % 24] : what;
}

uint64_t hostile_gpa(struct hostile *hostile)
{
	uint8_t what = hostile_byte(hostile);
	uint32_t offset = hostile_byte(hostile);

	switch (what & 7) {
	case 0:
		return VG_SEAM - offset;
	case 1:
		return VG_MEMORY - offset;
	case 2:
		return VG_HIGH + VG_HIGH_LEN - offset;
	case 3:
		return UINT64_MAX - offset;
	case 4:
		return 4096 + 16 * offset; /* the rings */
	case 5:
		return VG_HIGH - offset;
	default:
		return VG_BUFFERS + 512 * offset + (what >> 3);
	}
}

uint64_t hostile_room(struct hostile *hostile, uint32_t len)
{
	return virtio_guest_alloc(&hostile->guest, len ? len : 1, 1);
}

static unsigned pick_queue(struct hostile *hostile)
{
	return hostile_byte(hostile) % hostile->guest.device->ops->queue_count;
}

void hostile_send(struct hostile *hostile, unsigned queue, const struct vring_part *parts,
		  unsigned out, unsigned in)
{
	struct vring *ring = &hostile->guest.rings[queue];
	uint16_t at = hostile->next_desc;

	for (unsigned i = 0; i < out + in; i++) {
		uint16_t flags = (uint16_t)((i >= out ? VRING_WRITE : 0) |
					    (i + 1 < out + in ? VRING_NEXT : 0));

		ring->desc[(at + i) % ring->size] = (struct vring_desc){
			parts[i].gpa, parts[i].len, flags, (uint16_t)((at + i + 1) % ring->size)};
	}
	vring_offer(ring, at % ring->size);
	hostile->next_desc = (uint16_t)(at + out + in);
	if (hostile_byte(hostile) & 3)
		kiln__virtio_kick(hostile->guest.device, queue);
}

/* Writes descriptors of any shape over those in the table, and makes one available. */
static void raw_chain(struct hostile *hostile)
{
	unsigned queue = pick_queue(hostile);
	struct vring *ring = &hostile->guest.rings[queue];
	uint8_t count = hostile_byte(hostile) & 7;
	uint16_t at = hostile_byte(hostile) % RING;
	uint16_t head = at;

	for (unsigned i = 0; i <= count; i++) {
		uint8_t shape = hostile_byte(hostile);
		struct vring_desc *desc = &ring->desc[at % ring->size];

		desc->addr = hostile_gpa(hostile);
		desc->len = hostile_len(hostile);
		desc->flags = shape & 7;
		desc->next =
			shape & 128 ? hostile_byte(hostile) : (uint16_t)((at + 1) % ring->size);
		at = desc->next;
	}
	vring_offer(ring, head);
	kiln__virtio_kick(hostile->guest.device, queue);
}

/* An indirect table, in memory as far as it is. */
static void indirect_chain(struct hostile *hostile)
{
	unsigned queue = pick_queue(hostile);
	struct vring *ring = &hostile->guest.rings[queue];
	uint8_t count = 1 + (hostile_byte(hostile) & 15);
	uint64_t gpa = hostile_room(hostile, 16u * 16);
	uint16_t head = hostile_byte(hostile) % ring->size;

	for (unsigned i = 0; i < count; i++) {
		uint8_t shape = hostile_byte(hostile);
		struct vring_desc desc = {hostile_gpa(hostile), hostile_len(hostile),
					  (uint16_t)(shape & (shape & 64 ? 7 : 3)),
					  shape & 128 ? hostile_byte(hostile) : (uint16_t)(i + 1)};

		memcpy(hostile->guest.memory + gpa + 16 * i, &desc, 16);
	}
	ring->desc[head] = (struct vring_desc){gpa, 16u * count, VRING_INDIRECT, 0};
	vring_offer(ring, head);
	kiln__virtio_kick(hostile->guest.device, queue);
}

/* Writes a few bytes where the rings or buffers are. */
static void poke(struct hostile *hostile)
{
	uint64_t gpa = hostile_gpa(hostile);
	unsigned count = 1 + (hostile_byte(hostile) & 15);

	while (count-- > 0) {
		if (kiln__gmem_contains(&hostile->guest.gmem, gpa, 1))
			*virtio_guest_at(&hostile->guest, gpa) = hostile_byte(hostile);
		gpa++;
	}
}

static void restart(struct hostile *hostile)
{
	uint64_t features = hostile_byte(hostile) & 1 ? ~0ULL : hostile_u32(hostile);

	if (hostile_byte(hostile) & 7)
		features |= KILN__VIRTIO_F_VERSION_1;
	virtio_guest_restart(&hostile->guest, features, RING);
}

/* Stops a queue, and starts it, sometimes elsewhere, of another size, or at another position. */
static void move_queue(struct hostile *hostile)
{
	unsigned index = pick_queue(hostile);
	struct kiln__virtio *device = hostile->guest.device;
	struct kiln__queue *queue = &device->queues[index];
	uint8_t how = hostile_byte(hostile);
	uint16_t next = queue->next_avail;

	kiln__virtio_queue_stop(device, index);
	if (how & 1)
		return;
	if (how & 2)
		queue->desc_gpa = hostile_gpa(hostile) & ~15ULL;
	if (how & 4)
		queue->used_gpa = hostile_gpa(hostile) & ~3ULL;
	if (how & 8)
		queue->size = (uint16_t)(1u << (hostile_byte(hostile) & 15));
	if (how & 16)
		next = hostile_u16(hostile);
	kiln__virtio_queue_start(device, index, &hostile->guest.gmem, next, NULL);
}

static void touch_config(struct hostile *hostile)
{
	uint8_t bytes[16];
	uint32_t offset = hostile_byte(hostile);
	uint32_t len = hostile_byte(hostile) & 15;

	memset(bytes, hostile_byte(hostile), sizeof(bytes));
	if (offset & 128)
		kiln__virtio_config_write(hostile->guest.device, offset & 127, bytes, len, NULL);
	else
		kiln__virtio_config_read(hostile->guest.device, offset, bytes, len, NULL);
}

static void step(struct hostile *hostile)
{
	uint8_t code = hostile_byte(hostile);

	switch (code & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		hostile->request(hostile);
		break;
	case 5:
	case 6:
		hostile->host(hostile);
		break;
	case 7:
	case 8:
		raw_chain(hostile);
		break;
	case 9:
		indirect_chain(hostile);
		break;
	case 10:
		poke(hostile);
		break;
	case 11:
		kiln_loop_dispatch(hostile->loop);
		break;
	case 12:
		kiln__virtio_kick(hostile->guest.device, pick_queue(hostile));
		break;
	case 13:
		touch_config(hostile);
		break;
	case 14:
		if (code & 16) /* jumps ahead, or back */
			hostile->guest.rings[pick_queue(hostile)].avail[1] = hostile_u16(hostile);
		else
			restart(hostile);
		break;
	case 15:
		move_queue(hostile);
		break;
	}
	if (hostile->check)
		hostile->check(hostile);
}

void hostile_run(struct hostile *hostile, struct kiln__virtio *device, kiln_loop *loop,
		 const uint8_t *bytes, size_t len)
{
	/* One memory for all runs: what an input does depends on the rings, which are cleared. */
	static unsigned char *memory;

	if (!memory)
		memory = virtio_guest_memory();
	hostile->at = bytes;
	hostile->end = bytes + len;
	hostile->loop = loop;
	virtio_guest_init_in(&hostile->guest, device, ~0ULL, RING, memory);
	memset(memory + VG_BUFFERS, 0, 65536);
	virtio_guest_start(&hostile->guest);
	for (unsigned i = 0; i < MAX_STEPS && hostile->at < hostile->end; i++)
		step(hostile);
	virtio_guest_done(&hostile->guest);
}
