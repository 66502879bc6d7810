/* SPDX-License-Identifier: Apache-2.0 */
/* Between blk_io.c and its engines. */
#ifndef KILN_VMM_BLK_ENGINE_H
#define KILN_VMM_BLK_ENGINE_H

#include "blk_io.h"

/* How many vectors the kernel takes in one call (UIO_MAXIOV). The rest follows in a next step. */
#define KILN__BLK_MAX_IOV 1024u

struct kiln__blk_engine;

struct kiln__blk_engine_ops {
	/* Takes an operation; it need not begin before submit. */
	void (*queue)(struct kiln__blk_engine *engine, struct kiln__blk_op *op);
	/* Begins what was queued. */
	void (*submit)(struct kiln__blk_engine *engine);
	/* The next operation that has ended, its result set; NULL: none now. */
	struct kiln__blk_op *(*reap)(struct kiln__blk_engine *engine);
	/* Blocks until reap has something; something is under way. */
	void (*wait)(struct kiln__blk_engine *engine);
	void (*free)(struct kiln__blk_engine *engine);
};

/* Embedded as the first member by an engine. */
struct kiln__blk_engine {
	const struct kiln__blk_engine_ops *ops;
};

/*
 * Makers. @ready is called on the loop's thread when there may be something to reap. The ring's
 * fails where the system has none, or none that can be restricted.
 */
int kiln__blk_uring_new(struct kiln__blk_engine **ret, kiln_loop *loop, kiln_fd fd, unsigned depth,
			kiln__call_fn ready, void *data, kiln_error *err);
int kiln__blk_threads_new(struct kiln__blk_engine **ret, kiln_loop *loop, kiln_fd fd,
			  kiln__call_fn ready, void *data, kiln_error *err);

#endif
