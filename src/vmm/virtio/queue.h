/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue (virtio 1.2, section 2.7), device side.
 *
 * The driver's half of it is hostile: each index, address, length and flag is
 * read once and checked, chains are bounded by the queue's size (so a loop ends),
 * and whatever a conforming driver cannot have written breaks the queue: pop
 * returns KILN_EPROTO from then on, "fault" says why, and the device is to ask for
 * a reset. Nothing the guest writes can make this code fail otherwise.
 *
 * Transport-independent: a transport sets size and addresses and calls start and
 * stop; the device model pops, fills, pushes, and asks whether the driver wants to
 * be told. Pointers to the rings are cached between start and stop, so a transport stops
 * its queues to change the memory map, and starts them where they were.
 *
 * One thread at a time uses a queue. The driver's side is concurrent; the fences
 * against it are in here.
 */
#ifndef KILN_VMM_QUEUE_H
#define KILN_VMM_QUEUE_H

#include <kiln/error.h>

#include "gmem.h"

/* A piece of guest memory in this process. */
struct kiln__span {
	unsigned char *host;
	size_t len;
};

/*
 * One popped chain: first what the device may read, then what it may write. The
 * spans belong to the queue and are valid until its next pop, start or stop; a
 * device that holds chains longer copies them.
 */
struct kiln__chain {
	uint16_t head; /* what to push it back as */
	const struct kiln__span *readable;
	unsigned readable_count;
	const struct kiln__span *writable;
	unsigned writable_count;
	size_t read_len; /* bytes of each kind; below 4 GiB together */
	size_t write_len;
};

struct kiln__queue {
	/* Set by the transport while the queue is stopped. Guest physical addresses. */
	uint16_t size; /* a power of two up to max_size */
	uint64_t desc_gpa;
	uint64_t avail_gpa;
	uint64_t used_gpa;

	uint16_t max_size; /* set by the device model, constant */

	/* To be read by others, set only in here. */
	bool ready;          /* between start and stop */
	const char *fault;   /* what broke it, or NULL; static storage */
	uint16_t next_avail; /* running count of chains popped, as the driver counts them */

	/* Private. */
	const struct kiln__gmem *mem;
	const struct kiln__queue_desc *desc;
	uint16_t *avail;
	uint16_t *used;
	uint16_t next_used;
	uint16_t signaled;   /* next_used as of the last notification */
	bool signaled_valid; /* false: notify whatever the driver's threshold says */
	bool event_idx;
	bool indirect;
	bool kicks_off;
	struct kiln__span *spans;
	unsigned span_cap;
};

/*
 * Checks what the transport set (size, alignment, rings within memory) and makes
 * the queue ready, to go on at chain @next_avail (0 for a new queue) with the ring
 * @features that were negotiated. @mem is borrowed until stop. KILN_EINVAL if the
 * setting is impossible.
 */
int kiln__queue_start(struct kiln__queue *queue, const struct kiln__gmem *mem, uint64_t features,
		      uint16_t next_avail, kiln_error *err);

/* Makes the queue not ready and drops all pointers into guest memory. */
void kiln__queue_stop(struct kiln__queue *queue);

/* Takes the next chain. 1: there is one; 0: none (or not ready); KILN_EPROTO: the queue is broken.
 */
int kiln__queue_pop(struct kiln__queue *queue, struct kiln__chain *ret_chain);

/*
 * Puts the @count chains that were popped last back, as if they had not been: none of them pushed,
 * and none that was popped after them either.
 */
void kiln__queue_unpop(struct kiln__queue *queue, unsigned count);

/* Somebody else (a back-end in the kernel) has taken chains up to this count, and pushed them. */
void kiln__queue_move(struct kiln__queue *queue, uint16_t next_avail);

/* Whether a chain waits. False for a queue that is not ready or broken. */
bool kiln__queue_has_chain(struct kiln__queue *queue);

/* Gives a chain back, @written bytes of its writable part filled. */
void kiln__queue_push(struct kiln__queue *queue, uint16_t head, uint32_t written);

/* Whether the driver wants to be notified of what was pushed since the last time this was asked. */
bool kiln__queue_wants_notify(struct kiln__queue *queue);

/* Asks the driver for no kicks: advice only, it may kick nevertheless. */
void kiln__queue_kicks_off(struct kiln__queue *queue);

/*
 * Asks for a kick with the next chain. Returns true if one waits already, for
 * which there may be no kick: look again.
 */
bool kiln__queue_kicks_on(struct kiln__queue *queue);

/* Breaks the queue: its device found the driver's doing impossible. @fault is static text. */
void kiln__queue_break(struct kiln__queue *queue, const char *fault);

/* Copies out of the readable part of a chain from @offset on; returns how much there was of @len
 * bytes. */
size_t kiln__chain_read(const struct kiln__chain *chain, size_t offset, void *bytes, size_t len);

/* Copies into the writable part of a chain from @offset on; returns how much fitted. */
size_t kiln__chain_write(const struct kiln__chain *chain, size_t offset, const void *bytes,
			 size_t len);

#endif
