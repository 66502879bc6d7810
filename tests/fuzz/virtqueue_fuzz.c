/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtqueue walker on memory that somebody else wrote. Input: features, log2 of the
 * size, where to go on, a seed for changes under way, then the memory itself: the
 * descriptor table at 0, the available ring at 1024, the used ring at 2048, buffers anywhere.
 */
#include "queue.h"
#include "virtio.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY 8192
#define HEADER 5

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Every span lies in memory, and the sums are right. */
static size_t check_spans(const unsigned char *memory, const struct kiln__span *spans,
			  unsigned count)
{
	size_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		if (spans[i].len == 0 || spans[i].host < memory ||
		    spans[i].len > (size_t)(memory + MEMORY - spans[i].host))
			abort();
		sum += spans[i].len;
	}
	return sum;
}

static void use_chain(struct kiln__queue *queue, const unsigned char *memory,
		      const struct kiln__chain *chain)
{
	unsigned char copy[512];
	size_t n;

	if (check_spans(memory, chain->readable, chain->readable_count) != chain->read_len ||
	    check_spans(memory, chain->writable, chain->writable_count) != chain->write_len ||
	    chain->head >= queue->size)
		abort();
	n = kiln__chain_read(chain, chain->read_len / 3, copy, sizeof(copy));
	if (n > chain->read_len)
		abort();
	n = kiln__chain_write(chain, chain->write_len / 5, copy, n);
	if (n > chain->write_len)
		abort();
	kiln__queue_push(queue, chain->head, (uint32_t)n);
	kiln__queue_wants_notify(queue);
}

static void run(struct kiln__queue *queue, unsigned char *memory, uint32_t seed)
{
	struct kiln__chain chain;

	/* Pushing writes into the memory that the walk reads: no end is certain but this one. */
	for (unsigned i = 0; i < 200; i++) {
		int r = kiln__queue_pop(queue, &chain);

		if (r < 0)
			break;
		if (r == 0) {
			kiln__queue_kicks_off(queue);
			if (!kiln__queue_kicks_on(queue) && !seed)
				break;
		} else {
			use_chain(queue, memory, &chain);
		}
		seed = seed * 1664525 + 1013904223;
		if ((seed >> 24) < 64)
			memory[(seed >> 8) % MEMORY] = (unsigned char)seed;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	unsigned char *memory;
	struct kiln__gmem gmem = {0};
	struct kiln__queue queue = {.max_size = 64};
	uint64_t features = KILN__VIRTIO_F_VERSION_1;

	if (len < HEADER)
		return 0;
	memory = aligned_alloc(16, MEMORY);
	if (!memory)
		return 0;
	memset(memory, 0, MEMORY);
	memcpy(memory, bytes + HEADER, len - HEADER < MEMORY ? len - HEADER : MEMORY);
	/* Two regions that touch and are cut in the middle of what may be a buffer. */
	if (kiln__gmem_add(&gmem, 0, 5000, memory, NULL) < 0 ||
	    kiln__gmem_add(&gmem, 5000, MEMORY - 5000, memory + 5000, NULL) < 0)
		abort();
	if (bytes[0] & 1)
		features |= KILN__VIRTIO_F_EVENT_IDX;
	if (bytes[0] & 2)
		features |= KILN__VIRTIO_F_INDIRECT_DESC;
	queue.size = (uint16_t)(1u << (bytes[1] & 7));
	queue.avail_gpa = 1024;
	queue.used_gpa = bytes[0] & 4 ? 1024 : 2048; /* rings may overlap, too */
	if (kiln__queue_start(&queue, &gmem, features, (uint16_t)(bytes[2] | bytes[3] << 8),
			      NULL) == 0)
		run(&queue, memory, bytes[4] * 0x9e3779b9U);
	kiln__queue_stop(&queue);
	free(memory);
	return 0;
}
