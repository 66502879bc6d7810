/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtqueue walker. Memory order: the driver writes a chain, then the
 * available index; we read the index, then (acquire) the chain. We write used
 * entries, then (release) the used index. Both notification handshakes are a store
 * followed by a load of what the other side stores, in both directions: those
 * need full fences (virtio 1.2, 2.7.7 and 2.7.10).
 */
#include "queue.h"

#include "err.h"
#include "le.h"
#include "virtio.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* 2.7.5: the descriptor table's entries. */
struct kiln__queue_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define DESC_F_NEXT     1u
#define DESC_F_WRITE    2u
#define DESC_F_INDIRECT 4u

/* The available ring (2.7.6) in 16-bit words: flags, idx, ring[size], used_event. */
#define AVAIL_FLAGS          0
#define AVAIL_IDX            1
#define AVAIL_RING           2
#define AVAIL_F_NO_INTERRUPT 1u

/* The used ring (2.7.8) in 16-bit words: flags, idx, ring[size] of 32-bit id and len, avail_event.
 */
#define USED_FLAGS       0
#define USED_IDX         1
#define USED_RING        2
#define USED_ENTRY       4
#define USED_F_NO_NOTIFY 1u

static uint16_t *used_event(const struct kiln__queue *queue)
{
	return queue->avail + AVAIL_RING + queue->size;
}

static uint16_t *avail_event(const struct kiln__queue *queue)
{
	return queue->used + USED_RING + (size_t)queue->size * USED_ENTRY;
}

void kiln__queue_break(struct kiln__queue *queue, const char *fault)
{
	if (!queue->fault)
		queue->fault = fault;
}

/* --- starting and stopping -------------------------------------------------- */

static int map_part(const struct kiln__gmem *mem, uint64_t gpa, size_t len, unsigned align,
		    const char *what, void *ret, kiln_error *err)
{
	unsigned char *host = kiln__gmem_ptr(mem, gpa, len);

	if (!host)
		return kiln__fail(err, KILN_EINVAL,
				  "virtqueue: %s at 0x%" PRIx64 " is not in guest memory", what,
				  gpa);
	if (gpa % align || (uintptr_t)host % align)
		return kiln__fail(err, KILN_EINVAL,
				  "virtqueue: %s at 0x%" PRIx64 " is not aligned to %u", what, gpa,
				  align);
	memcpy(ret, &host, sizeof(host));
	return 0;
}

/* Sizes and alignments as in 2.7, table of parts. */
static int map_rings(struct kiln__queue *queue, const struct kiln__gmem *mem, kiln_error *err)
{
	size_t size = queue->size;
	const struct kiln__queue_desc *desc;
	uint16_t *avail;
	uint16_t *used;
	int r;

	r = map_part(mem, queue->desc_gpa, size * sizeof(*desc), 16, "descriptor table", &desc,
		     err);
	if (r == 0)
		r = map_part(mem, queue->avail_gpa, 6 + 2 * size, 2, "available ring", &avail, err);
	if (r == 0)
		r = map_part(mem, queue->used_gpa, 6 + 8 * size, 4, "used ring", &used, err);
	if (r < 0)
		return r;
	queue->desc = desc;
	queue->avail = avail;
	queue->used = used;
	queue->mem = mem;
	return 0;
}

int kiln__queue_start(struct kiln__queue *queue, const struct kiln__gmem *mem, uint64_t features,
		      uint16_t next_avail, kiln_error *err)
{
	unsigned cap;
	int r;

	if (queue->size == 0 || (queue->size & (queue->size - 1)) || queue->size > queue->max_size)
		return kiln__fail(err, KILN_EINVAL, "virtqueue: impossible size %u (at most %u)",
				  queue->size, queue->max_size);
	r = map_rings(queue, mem, err);
	if (r < 0)
		return r;
	/* Each descriptor is one span, but for those that cross from one region into the next. */
	cap = queue->size + KILN__GMEM_MAX_REGIONS;
	free(queue->spans);
	queue->span_cap = cap;
	queue->spans = calloc(cap, sizeof(*queue->spans));
	if (!queue->spans) {
		kiln__queue_stop(queue);
		return kiln__fail_nomem(err);
	}
	queue->event_idx = features & KILN__VIRTIO_F_EVENT_IDX;
	queue->indirect = features & KILN__VIRTIO_F_INDIRECT_DESC;
	queue->next_avail = next_avail;
	queue->next_used = kiln__load16(&queue->used[USED_IDX]);
	queue->signaled = queue->next_used;
	queue->signaled_valid = false;
	queue->fault = NULL;
	queue->ready = true;
	kiln__queue_kicks_on(queue); /* whatever an earlier device left in the ring */
	return 0;
}

void kiln__queue_stop(struct kiln__queue *queue)
{
	queue->ready = false;
	queue->mem = NULL;
	queue->desc = NULL;
	queue->avail = NULL;
	queue->used = NULL;
	free(queue->spans);
	queue->spans = NULL;
	queue->span_cap = 0;
}

/* --- taking chains ------------------------------------------------------------- */

/* How many chains wait; negative if the index cannot be. */
static int pending(struct kiln__queue *queue)
{
	uint16_t count;

	if (!queue->ready)
		return 0;
	if (queue->fault)
		return KILN_EPROTO;
	count = (uint16_t)(kiln__load16(&queue->avail[AVAIL_IDX]) - queue->next_avail);
	if (count > queue->size) {
		kiln__queue_break(queue, "available index is further ahead than the queue is long");
		return KILN_EPROTO;
	}
	return count;
}

bool kiln__queue_has_chain(struct kiln__queue *queue)
{
	return pending(queue) > 0;
}

/* Where the walk is: in the queue's table, or in an indirect one. */
struct walk {
	struct kiln__queue *queue;
	uint64_t table_gpa; /* 0-based table address if indirect */
	uint32_t table_len; /* entries */
	bool in_indirect;
	unsigned steps; /* descriptors seen */
	unsigned spans;
	unsigned readable; /* spans before the first writable one */
	uint64_t read_len;
	uint64_t write_len;
};

static int fetch(const struct walk *walk, uint32_t index, struct kiln__queue_desc *ret)
{
	const struct kiln__queue_desc *at;
	struct kiln__queue_desc raw;

	if (!walk->in_indirect) {
		at = &walk->queue->desc[index];
		ret->addr = kiln__load64(&at->addr);
		ret->len = kiln__load32(&at->len);
		ret->flags = kiln__load16(&at->flags);
		ret->next = kiln__load16(&at->next);
		return 0;
	}
	/* The table's place was checked as a whole; it need not be in one piece. */
	if (kiln__gmem_read(walk->queue->mem, walk->table_gpa + (uint64_t)index * sizeof(raw), &raw,
			    sizeof(raw)) < 0)
		return KILN_EPROTO;
	ret->addr = KILN__LE64(raw.addr);
	ret->len = KILN__LE32(raw.len);
	ret->flags = KILN__LE16(raw.flags);
	ret->next = KILN__LE16(raw.next);
	return 0;
}

/* Adds a descriptor's buffer. Returns NULL or what is wrong with it. */
static const char *add_buffer(struct walk *walk, const struct kiln__queue_desc *desc)
{
	struct kiln__queue *queue = walk->queue;
	bool writable = desc->flags & DESC_F_WRITE;
	uint64_t gpa = desc->addr;
	size_t left = desc->len;

	/* 2.7.4.2: the driver puts device-writable parts after all device-readable ones. */
	if (!writable && walk->write_len > 0)
		return "a readable descriptor follows a writable one";
	while (left > 0) {
		void *host = NULL;
		size_t run = kiln__gmem_run(queue->mem, gpa, left, &host);

		if (run == 0)
			return "a buffer is not in guest memory";
		if (walk->spans == queue->span_cap)
			return "a chain has too many pieces";
		queue->spans[walk->spans++] = (struct kiln__span){host, run};
		left -= run;
		if (left > 0 && __builtin_add_overflow(gpa, run, &gpa))
			return "a buffer wraps around the end of the address space";
	}
	if (writable) {
		walk->write_len += desc->len;
	} else {
		walk->read_len += desc->len;
		walk->readable = walk->spans;
	}
	/* 2.7.5.2: no more than 2^32 bytes in a chain. */
	if (walk->read_len + walk->write_len > UINT32_MAX)
		return "a chain is longer than 4 GiB";
	return NULL;
}

/* 2.7.5.3: turns to an indirect table. Returns NULL or what is wrong with it. */
static const char *enter_indirect(struct walk *walk, const struct kiln__queue_desc *desc)
{
	if (!walk->queue->indirect)
		return "an indirect descriptor, which was not negotiated";
	if (walk->in_indirect)
		return "an indirect descriptor within an indirect table";
	if (desc->flags & DESC_F_NEXT)
		return "an indirect descriptor with a successor";
	if (desc->len == 0 || desc->len % sizeof(struct kiln__queue_desc))
		return "an indirect table of impossible length";
	if (!kiln__gmem_contains(walk->queue->mem, desc->addr, desc->len))
		return "an indirect table is not in guest memory";
	walk->in_indirect = true;
	walk->table_gpa = desc->addr;
	walk->table_len = desc->len / (uint32_t)sizeof(struct kiln__queue_desc);
	return NULL;
}

/* Follows the chain that begins at @index. Returns NULL or what is wrong with it. */
static const char *follow(struct walk *walk, uint32_t index)
{
	struct kiln__queue_desc desc;
	const char *fault;

	for (;;) {
		if (index >= walk->table_len)
			return "a descriptor index is out of range";
		/* 2.7.5.2, 2.7.5.3.1: no chain is longer than the queue; a loop ends here too. */
		if (walk->steps++ >= walk->queue->size)
			return "a chain is longer than the queue";
		if (fetch(walk, index, &desc) < 0)
			return "an indirect table is not in guest memory";
		if (desc.flags & DESC_F_INDIRECT) {
			fault = enter_indirect(walk, &desc);
			if (fault)
				return fault;
			walk->steps--; /* stands for the table, is not of the chain */
			index = 0;
			continue;
		}
		fault = add_buffer(walk, &desc);
		if (fault || !(desc.flags & DESC_F_NEXT))
			return fault;
		index = desc.next;
	}
}

int kiln__queue_pop(struct kiln__queue *queue, struct kiln__chain *ret_chain)
{
	struct walk walk = {.queue = queue, .table_len = queue->size};
	int count = pending(queue);
	const char *fault;
	uint16_t head;

	if (count <= 0)
		return count;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	head = kiln__load16(&queue->avail[AVAIL_RING + (queue->next_avail & (queue->size - 1))]);
	fault = follow(&walk, head);
	if (fault) {
		kiln__queue_break(queue, fault);
		return KILN_EPROTO;
	}
	queue->next_avail++;
	*ret_chain = (struct kiln__chain){
		.head = head,
		.readable = queue->spans,
		.readable_count = walk.readable,
		.writable = queue->spans + walk.readable,
		.writable_count = walk.spans - walk.readable,
		.read_len = (size_t)walk.read_len,
		.write_len = (size_t)walk.write_len,
	};
	return 1;
}

void kiln__queue_unpop(struct kiln__queue *queue, unsigned count)
{
	queue->next_avail = (uint16_t)(queue->next_avail - count);
}

void kiln__queue_move(struct kiln__queue *queue, uint16_t next_avail)
{
	if (!queue->ready)
		return;
	queue->next_avail = next_avail;
	queue->next_used = kiln__load16(&queue->used[USED_IDX]);
	queue->signaled_valid = false;
}

/* --- giving chains back ---------------------------------------------------------- */

void kiln__queue_push(struct kiln__queue *queue, uint16_t head, uint32_t written)
{
	uint16_t *entry;

	if (!queue->ready)
		return;
	entry = queue->used + USED_RING +
		(size_t)(queue->next_used & (queue->size - 1)) * USED_ENTRY;
	kiln__store32((uint32_t *)(void *)entry, head);
	kiln__store32((uint32_t *)(void *)(entry + 2), written);
	queue->next_used++;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	kiln__store16(&queue->used[USED_IDX], queue->next_used);
}

bool kiln__queue_wants_notify(struct kiln__queue *queue)
{
	uint16_t old = queue->signaled;
	uint16_t now = queue->next_used;
	bool valid = queue->signaled_valid;

	if (!queue->ready || old == now)
		return false;
	queue->signaled = now;
	queue->signaled_valid = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the used index before the driver's wish */
	if (!queue->event_idx)
		return !(kiln__load16(&queue->avail[AVAIL_FLAGS]) & AVAIL_F_NO_INTERRUPT);
	/* 2.7.7.2: if the count passed used_event since the last notification. */
	return !valid ||
	       (uint16_t)(now - kiln__load16(used_event(queue)) - 1) < (uint16_t)(now - old);
}

void kiln__queue_kicks_off(struct kiln__queue *queue)
{
	if (!queue->ready || queue->kicks_off)
		return;
	queue->kicks_off = true;
	/* With EVENT_IDX the threshold stays where it is, behind: no kick for 2^16 chains. */
	if (!queue->event_idx)
		kiln__store16(&queue->used[USED_FLAGS], USED_F_NO_NOTIFY);
}

bool kiln__queue_kicks_on(struct kiln__queue *queue)
{
	if (!queue->ready)
		return false;
	queue->kicks_off = false;
	if (queue->event_idx)
		kiln__store16(avail_event(queue), queue->next_avail);
	else
		kiln__store16(&queue->used[USED_FLAGS], 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* our wish before the available index */
	return kiln__queue_has_chain(queue);
}

/* --- the contents of chains -------------------------------------------------------- */

static size_t copy_spans(const struct kiln__span *spans, unsigned count, size_t offset, void *out,
			 const void *in, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		size_t run = spans[i].len;

		if (offset >= run) {
			offset -= run;
			continue;
		}
		run -= offset;
		if (run > len - done)
			run = len - done;
		if (out)
			memcpy((unsigned char *)out + done, spans[i].host + offset, run);
		else
			memcpy(spans[i].host + offset, (const unsigned char *)in + done, run);
		done += run;
		offset = 0;
	}
	return done;
}

size_t kiln__chain_read(const struct kiln__chain *chain, size_t offset, void *bytes, size_t len)
{
	size_t n = copy_spans(chain->readable, chain->readable_count, offset, bytes, NULL, len);

	/* The guest may change its copy: what follows must use ours, not fetch it again. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return n;
}

size_t kiln__chain_write(const struct kiln__chain *chain, size_t offset, const void *bytes,
			 size_t len)
{
	return copy_spans(chain->writable, chain->writable_count, offset, NULL, bytes, len);
}
