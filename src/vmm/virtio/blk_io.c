/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both engines have in common: an engine at the first use, and operations carried on until
 * they are whole. One thread, the loop's; what threads an engine has is its own business.
 */
#include "blk_io.h"

#include "blk_engine.h"
#include "err.h"

#include <errno.h>
#include <stdlib.h>

struct kiln__blk_io {
	kiln_loop *loop;
	kiln_fd fd;
	unsigned depth;
	bool may_ring; /* not yet known to be impossible */
	bool is_ring;
	const struct kiln__blk_io_user *user;
	void *data;
	struct kiln__blk_engine *engine;
	unsigned under_way; /* queued or begun */
	bool queued;        /* something waits for submit */
};

int kiln__blk_io_new(struct kiln__blk_io **ret, kiln_loop *loop, kiln_fd fd, unsigned depth,
		     bool may_ring, const struct kiln__blk_io_user *user, void *data,
		     kiln_error *err)
{
	struct kiln__blk_io *io = calloc(1, sizeof(*io));

	if (!io)
		return kiln__fail_nomem(err);
	io->loop = loop;
	io->fd = fd;
	io->depth = depth;
	io->may_ring = may_ring;
	io->user = user;
	io->data = data;
	*ret = io;
	return 0;
}

void kiln__blk_io_free(struct kiln__blk_io *io)
{
	if (!io)
		return;
	if (io->engine)
		io->engine->ops->free(io->engine);
	free(io);
}

/* Goes on with an operation of which a step has ended, or tells that it is over. */
static void finish_step(struct kiln__blk_io *io, struct kiln__blk_op *op)
{
	uint64_t n = op->result > 0 ? (uint64_t)op->result : 0;
	bool vectored = op->kind == KILN__BLK_READ || op->kind == KILN__BLK_WRITE;
	int error = op->result < 0 ? op->result : 0;

	/* Nothing at all: the file has become shorter, or cannot grow. */
	if (vectored && error == 0 && (n == 0 || n > op->length))
		error = -EIO;
	if (vectored && error == 0) {
		op->offset += n;
		op->length -= n;
		while (n > 0 && n >= op->iov->iov_len) {
			n -= op->iov->iov_len;
			op->iov++;
			op->iov_count--;
		}
		if (op->length > 0) {
			op->iov->iov_base = (char *)op->iov->iov_base + n;
			op->iov->iov_len -= n;
			io->engine->ops->queue(io->engine, op);
			io->queued = true;
			return;
		}
	}
	io->under_way--;
	io->user->done(io->data, op, error);
}

/* Whether anything had ended. */
static bool reap(struct kiln__blk_io *io)
{
	struct kiln__blk_op *op;
	bool any = false;

	while ((op = io->engine->ops->reap(io->engine))) {
		finish_step(io, op);
		any = true;
	}
	return any;
}

static void on_ready(void *data)
{
	struct kiln__blk_io *io = data;

	reap(io);
	kiln__blk_io_submit(io);
	io->user->batch(io->data);
}

bool kiln__blk_io_prepare(struct kiln__blk_io *io)
{
	if (io->engine || !io->may_ring)
		return io->is_ring;
	io->is_ring = kiln__blk_uring_new(&io->engine, io->loop, io->fd, io->depth, on_ready, io,
					  NULL) == 0;
	io->may_ring = io->is_ring;
	return io->is_ring;
}

void kiln__blk_io_queue(struct kiln__blk_io *io, struct kiln__blk_op *op)
{
	if (!io->engine && !kiln__blk_io_prepare(io))
		kiln__blk_threads_new(&io->engine, io->loop, io->fd, on_ready, io, NULL);
	if (!io->engine) { /* no memory */
		io->user->done(io->data, op, -ENOMEM);
		return;
	}
	io->under_way++;
	io->engine->ops->queue(io->engine, op);
	io->queued = true;
}

void kiln__blk_io_submit(struct kiln__blk_io *io)
{
	while (io->queued) {
		io->queued = false;
		io->engine->ops->submit(io->engine);
		reap(io);
	}
}

void kiln__blk_io_wait(struct kiln__blk_io *io)
{
	kiln__blk_io_submit(io);
	while (io->under_way > 0) {
		io->engine->ops->wait(io->engine);
		reap(io);
		kiln__blk_io_submit(io);
	}
}
