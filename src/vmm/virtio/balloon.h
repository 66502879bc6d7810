/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio memory balloon (virtio 1.2, section 5.5): memory that the guest does without goes
 * back to the host, by request (the target) and by the guest's own reports of free pages.
 *
 * All functions are for the thread of the device's loop. Callbacks run from the loop, or where it
 * is said; they must not free the device or its transport.
 */
#ifndef KILN_VMM_BALLOON_H
#define KILN_VMM_BALLOON_H

#include <kiln/error.h>

#include "loop.h"
#include "virtio.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__balloon;

struct kiln__balloon_options {
	/*
	 * Gives guest memory back to the host: [gpa, gpa + len) lies in guest memory, in whole
	 * pages of the host, and reads as zeros, or as what it began with, when it is used next.
	 */
	void (*discard)(void *data, uint64_t gpa, uint64_t len);
	/* The guest says how large its balloon is now, in bytes. NULL is allowed. */
	void (*resized)(void *data, uint64_t actual);
	void *data;
};

/* What the guest says of its memory (5.5.6.3). */
enum kiln__balloon_stat {
	KILN__BALLOON_SWAP_IN,        /* bytes */
	KILN__BALLOON_SWAP_OUT,       /* bytes */
	KILN__BALLOON_MAJOR_FAULTS,   /* count */
	KILN__BALLOON_MINOR_FAULTS,   /* count */
	KILN__BALLOON_FREE,           /* bytes */
	KILN__BALLOON_TOTAL,          /* bytes */
	KILN__BALLOON_AVAILABLE,      /* bytes */
	KILN__BALLOON_CACHES,         /* bytes */
	KILN__BALLOON_HUGE_ALLOCATED, /* count */
	KILN__BALLOON_HUGE_FAILED,    /* count */
	KILN__BALLOON_STATS,
};

struct kiln__balloon_stats {
	uint32_t known; /* bit n: value n was told */
	uint64_t values[KILN__BALLOON_STATS];
};

/* NULL and why, or what the guest has said. */
typedef void (*kiln__balloon_stats_fn)(void *data, const struct kiln__balloon_stats *stats,
				       const kiln_error *err);

int kiln__balloon_new(struct kiln__balloon **ret, kiln_loop *loop,
		      const struct kiln__balloon_options *options, kiln_error *err);

/* Frees the device, from which the transport must have parted. NULL is allowed. */
void kiln__balloon_free(struct kiln__balloon *balloon);

/* The device for its transport. Lives as long as @balloon. */
struct kiln__virtio *kiln__balloon_device(struct kiln__balloon *balloon);

/*
 * How much the guest is to do without, in bytes, rounded down to 4 KiB. It gets there at its own
 * pace, or not at all: kiln__balloon_actual() says how far it is. KILN_EOVERFLOW beyond 16 TiB.
 */
int kiln__balloon_set_target(struct kiln__balloon *balloon, uint64_t bytes, kiln_error *err);
uint64_t kiln__balloon_target(const struct kiln__balloon *balloon);
uint64_t kiln__balloon_actual(const struct kiln__balloon *balloon);

/*
 * Asks the guest for its statistics; @done is called once. KILN_ESTATE if its driver is not there
 * or has none, KILN_EBUSY if it was asked and has not answered, both from inside; KILN_EDIED if it
 * is reset before it answers. A guest that never answers is the caller's to give up on: by asking
 * with kiln__balloon_cancel_stats().
 */
void kiln__balloon_request_stats(struct kiln__balloon *balloon, kiln__balloon_stats_fn done,
				 void *data);

/* Forgets who asked; "done" is not called any more. */
void kiln__balloon_cancel_stats(struct kiln__balloon *balloon);

#endif
