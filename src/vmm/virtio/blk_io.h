/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads, writes and their kin on one file, many under way at once, without blocking the
 * loop. Two engines: io_uring, and where that cannot be had a few threads that block. Neither
 * has a ring or a thread before the first operation, unless it is asked for.
 *
 * An operation is done whole: what the kernel did in part is gone on with in here.
 * All functions are for the loop's thread, which is also where the user is called.
 */
#ifndef KILN_VMM_BLK_IO_H
#define KILN_VMM_BLK_IO_H

#include <kiln/error.h>

#include "fd.h"
#include "loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum kiln__blk_op_kind {
	KILN__BLK_READ,
	KILN__BLK_WRITE,
	KILN__BLK_FLUSH,
	KILN__BLK_PUNCH, /* deallocate: reads as zeros after it */
	KILN__BLK_ZERO,  /* zeros, allocated */
};

/* Embedded in the user's request; the user's again when it has been told that it is done. */
struct kiln__blk_op {
	enum kiln__blk_op_kind kind;
	bool durable;      /* of a write: on stable storage when it is done */
	struct iovec *iov; /* of READ and WRITE, length bytes; changed as it goes */
	unsigned iov_count;
	uint64_t offset; /* in the file; changed as it goes, as is length */
	uint64_t length;
	int result;                /* private: of the last step, a count or a negative errno */
	struct kiln__blk_op *next; /* private */
};

struct kiln__blk_io_user {
	/* An operation is over: 0 or a negative errno. May queue others. */
	void (*done)(void *data, struct kiln__blk_op *op, int error);
	/* After some of these, from the loop: a time to look for more, and to tell. */
	void (*batch)(void *data);
};

struct kiln__blk_io;

/*
 * For @fd (borrowed). At most @depth operations are queued or under way at a time. Without
 * @may_ring the engine is threads, whatever the system has.
 */
int kiln__blk_io_new(struct kiln__blk_io **ret, kiln_loop *loop, kiln_fd fd, unsigned depth,
		     bool may_ring, const struct kiln__blk_io_user *user, void *data,
		     kiln_error *err);

/* Nothing may be under way. NULL is allowed. */
void kiln__blk_io_free(struct kiln__blk_io *io);

/* Makes the engine now, if it is io_uring, which the first operation does else. True if it is. */
bool kiln__blk_io_prepare(struct kiln__blk_io *io);

/* Queues an operation, for kiln__blk_io_submit() to hand over with all others. */
void kiln__blk_io_queue(struct kiln__blk_io *io, struct kiln__blk_op *op);

/* Those that are over at once are told from inside. */
void kiln__blk_io_submit(struct kiln__blk_io *io);

/* Blocks until nothing is queued or under way; "done" is called from inside, "batch" is not. */
void kiln__blk_io_wait(struct kiln__blk_io *io);

#endif
