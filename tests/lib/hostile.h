/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver for any device model, driven by bytes: what the fuzz targets of the devices
 * share. It puts up chains of any shape (in memory, across seams and holes, beyond the end,
 * looping, with lengths that overflow, indirect), lets indices jump, moves queues while they run,
 * resets in the middle, and reads and writes configuration space where it likes. Each target adds
 * requests that make sense to its device, and what the host does meanwhile.
 *
 * Guest memory has nothing around its pieces: what leaves it dies.
 */
#ifndef TESTS_LIB_HOSTILE_H
#define TESTS_LIB_HOSTILE_H

#include "loop.h"
#include "virtio_guest.h"

struct hostile {
	const uint8_t *at;
	const uint8_t *end;
	kiln_loop *loop;
	struct virtio_guest guest;
	uint16_t next_desc; /* where hostile_send() goes on in the tables */
	/* Of the target. */
	void (*request)(struct hostile *hostile); /* a plausible request */
	void (*host)(struct hostile *hostile);    /* the host's side does something */
	void (*check)(struct hostile *hostile);   /* after each step; aborts. NULL is allowed */
};

/* The next byte of the input, 0 behind its end; and numbers of several. */
uint8_t hostile_byte(struct hostile *hostile);
uint16_t hostile_u16(struct hostile *hostile);
uint32_t hostile_u32(struct hostile *hostile);

/* A size that is likely to matter. */
uint32_t hostile_len(struct hostile *hostile);

/* An address that is likely to matter. */
uint64_t hostile_gpa(struct hostile *hostile);

/* Where plausible requests may be built: good for @len bytes until the next call, mostly. */
uint64_t hostile_room(struct hostile *hostile, uint32_t len);

/* Puts up a chain of @parts as a driver would that forgets what it has in flight, and mostly kicks.
 */
void hostile_send(struct hostile *hostile, unsigned queue, const struct vring_part *parts,
		  unsigned out, unsigned in);

/* From beginning to end: @device is attached, driven by @bytes, and reset; what is the host's is
 * left. */
void hostile_run(struct hostile *hostile, struct kiln__virtio *device, kiln_loop *loop,
		 const uint8_t *bytes, size_t len);

#endif
