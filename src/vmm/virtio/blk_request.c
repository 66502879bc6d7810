/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the block device does with a request (virtio 1.2, 5.2.6): checks it, makes operations on the
 * file of it, one after the other where it takes several, and gives it back with its status.
 *
 * On the loop's thread. Guest memory is read and written in place, by way of a bounce buffer where
 * O_DIRECT wants it aligned. Trusts nothing of the guest: what is looked at was copied before.
 *
 * Order (5.2.6.2): a flush covers the writes that were told to be done before it was made
 * available; those are done in the file by then, so a sync of the file begun afterwards covers
 * them.
 */
#include "blk_internal.h"

#include "le.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Requests (5.2.6). */
#define T_IN           0u
#define T_OUT          1u
#define T_FLUSH        4u
#define T_GET_ID       8u
#define T_DISCARD      11u
#define T_WRITE_ZEROES 13u

#define SEGMENT_F_UNMAP 1u

#define BOUNCE_BYTES ((size_t)256 * 1024)

/* --- ends -------------------------------------------------------------------------- */

static void finish(struct kiln__blk *blk, struct request *req, uint8_t status)
{
	uint32_t written = 0;

	*(volatile unsigned char *)req->status = status;
	/* 2.7.8.2: what was written from the beginning of the part on. */
	if (status == S_OK || req->data_len == 0)
		written = req->data_len + 1;
	kiln__queue_push(&blk->virtio.queues[0], req->head, written);
	free(req->bounce);
	req->bounce = NULL;
	req->next = blk->spare;
	blk->spare = req;
	if (--blk->under_way == 0 && blk->draining)
		kiln__deferred_schedule(blk->drained);
}

/* --- reads and writes --------------------------------------------------------------------- */

/* Copies between a buffer and the guest's memory from byte @at on. */
static void copy_iov(const struct request *req, size_t at, unsigned char *bytes, size_t len,
		     bool in)
{
	for (unsigned i = 0; i < req->iov_count && len > 0; i++) {
		size_t n = req->iov[i].iov_len;
		unsigned char *guest = req->iov[i].iov_base;

		if (at >= n) {
			at -= n;
			continue;
		}
		guest += at;
		n -= at;
		if (n > len)
			n = len;
		memcpy(in ? bytes : guest, in ? guest : bytes, n);
		bytes += n;
		len -= n;
		at = 0;
	}
}

static void queue_op(struct kiln__blk *blk, struct request *req, enum kiln__blk_op_kind kind)
{
	req->op.kind = kind;
	kiln__blk_io_queue(blk->io, &req->op);
}

/* A buffer for req->total bytes, or for a part of them at a time. */
static bool make_bounce(const struct kiln__blk *blk, struct request *req)
{
	void *bounce = NULL;

	if (posix_memalign(&bounce, blk->file.block,
			   req->total < BOUNCE_BYTES ? req->total : BOUNCE_BYTES))
		return false;
	req->bounce = bounce;
	req->at = 0;
	return true;
}

/* The next piece by the bounce buffer. */
static void queue_bounced(struct kiln__blk *blk, struct request *req)
{
	size_t len = req->total - req->at;

	if (len > BOUNCE_BYTES)
		len = BOUNCE_BYTES;
	if (req->type == T_OUT)
		copy_iov(req, req->at, req->bounce, len, true);
	req->bounced = len;
	req->bounce_iov = (struct iovec){req->bounce, len};
	req->op.iov = &req->bounce_iov;
	req->op.iov_count = 1;
	req->op.offset = req->offset + req->at;
	req->op.length = len;
	queue_op(blk, req, req->type == T_IN ? KILN__BLK_READ : KILN__BLK_WRITE);
}

/* O_DIRECT: whether the guest's memory lies as the kernel wants it. */
static bool is_aligned(const struct kiln__blk *blk, const struct request *req)
{
	uintptr_t mask = blk->file.block - 1;
	uintptr_t bits = 0;

	for (unsigned i = 0; i < req->iov_count; i++)
		bits |= (uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len;
	return !(bits & mask);
}

/* The file's offset of a range of sectors, if that is on the disk. */
static bool locate(const struct kiln__blk *blk, uint64_t sector, uint64_t bytes, uint64_t *ret)
{
	uint64_t size = blk->file.length;

	if (sector > size / SECTOR || bytes > size - sector * SECTOR)
		return false;
	*ret = blk->file.offset + sector * SECTOR;
	return true;
}

static void begin_transfer(struct kiln__blk *blk, struct request *req, uint64_t sector)
{
	if (req->total % SECTOR || !locate(blk, sector, req->total, &req->offset) ||
	    (req->type == T_OUT && blk->readonly)) {
		finish(blk, req, S_IOERR);
		return;
	}
	if (req->total == 0) {
		finish(blk, req, S_OK);
		return;
	}
	/* 5.2.5.1: with the cache off, or where the driver cannot flush, a write is done when it
	 * lasts. */
	req->op.durable = req->type == T_OUT && blk->cache != KILN__BLK_UNSAFE &&
			  (!blk->config.writeback || !(blk->virtio.features & F_FLUSH));
	if (blk->file.direct && (req->offset | req->total) & (blk->file.block - 1)) {
		finish(blk, req, S_IOERR); /* not of whole blocks (blk_size) */
		return;
	}
	if (blk->file.direct && !is_aligned(blk, req)) {
		if (make_bounce(blk, req))
			queue_bounced(blk, req);
		else
			finish(blk, req, S_IOERR);
		return;
	}
	req->op.iov = req->iov;
	req->op.iov_count = req->iov_count;
	req->op.offset = req->offset;
	req->op.length = req->total;
	queue_op(blk, req, req->type == T_IN ? KILN__BLK_READ : KILN__BLK_WRITE);
}

static void transfer_done(struct kiln__blk *blk, struct request *req, int error)
{
	if (error == 0 && req->bounce) {
		if (req->type == T_IN)
			copy_iov(req, req->at, req->bounce, req->bounced, false);
		req->at += req->bounced;
		if (req->at < req->total) {
			queue_bounced(blk, req);
			return;
		}
	}
	finish(blk, req, error ? S_IOERR : S_OK);
}

/* --- discard and write zeroes (5.2.6) ------------------------------------------------------ */

static void queue_segment(struct kiln__blk *blk, struct request *req)
{
	const struct segment *segment = &req->segments[req->segment_at];
	/* Unmapping is a wish (5.2.6.2), and one that the configuration may not grant. */
	bool unmap = req->type == T_DISCARD || (blk->discard && segment->flags & SEGMENT_F_UNMAP);

	req->op.offset = blk->file.offset + segment->sector * SECTOR;
	req->op.length = (uint64_t)segment->count * SECTOR;
	queue_op(blk, req, unmap ? KILN__BLK_PUNCH : KILN__BLK_ZERO);
}

static bool cannot_do(int error)
{
	return error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL;
}

static void segment_done(struct kiln__blk *blk, struct request *req, int error)
{
	const struct segment *segment = &req->segments[req->segment_at];

	if (cannot_do(error) && req->type == T_WRITE_ZEROES && !req->bounce) {
		req->total = (size_t)segment->count * SECTOR;
		req->offset = blk->file.offset + segment->sector * SECTOR;
		if (make_bounce(blk, req)) {
			memset(req->bounce, 0,
			       req->total < BOUNCE_BYTES ? req->total : BOUNCE_BYTES);
			queue_bounced(blk, req);
			return;
		}
	}
	if (error == 0 && req->bounce) {
		req->at += req->bounced;
		if (req->at < req->total) {
			queue_bounced(blk, req);
			return;
		}
		free(req->bounce);
		req->bounce = NULL;
	}
	if (error == 0 && ++req->segment_at < req->segment_count) {
		queue_segment(blk, req);
		return;
	}
	if (error == 0)
		finish(blk, req, S_OK);
	else
		finish(blk, req, cannot_do(error) ? S_UNSUPP : S_IOERR);
}

/* What is wrong with the segments: a status. */
static uint8_t check_segments(const struct kiln__blk *blk, const struct request *req)
{
	uint32_t known = req->type == T_WRITE_ZEROES ? SEGMENT_F_UNMAP : 0;
	uint64_t offset;

	for (unsigned i = 0; i < req->segment_count; i++) {
		const struct segment *segment = &req->segments[i];

		if (segment->flags & ~known)
			return S_UNSUPP;
		if (segment->count == 0 || segment->count > MAX_SEGMENT_SECTORS ||
		    !locate(blk, segment->sector, (uint64_t)segment->count * SECTOR, &offset))
			return S_IOERR;
		if (blk->file.direct &&
		    ((offset | (uint64_t)segment->count * SECTOR) & (blk->file.block - 1)))
			return S_IOERR;
	}
	return S_OK;
}

static void begin_segments(struct kiln__blk *blk, struct request *req,
			   const struct kiln__chain *chain)
{
	size_t bytes = chain->read_len - sizeof(struct header);
	uint64_t needs = req->type == T_DISCARD ? F_DISCARD : F_WRITE_ZEROES;
	uint8_t status;

	if (!(blk->virtio.features & needs)) {
		finish(blk, req, S_UNSUPP);
		return;
	}
	if (bytes == 0 || bytes % sizeof(struct segment) || bytes > sizeof(req->segments) ||
	    blk->readonly) {
		finish(blk, req, S_IOERR);
		return;
	}
	kiln__chain_read(chain, sizeof(struct header), req->segments, bytes);
	req->segment_count = (unsigned)(bytes / sizeof(struct segment));
	req->segment_at = 0;
	for (unsigned i = 0; i < req->segment_count; i++) {
		struct segment *segment = &req->segments[i];

		segment->sector = KILN__LE64(segment->sector);
		segment->count = KILN__LE32(segment->count);
		segment->flags = KILN__LE32(segment->flags);
	}
	status = check_segments(blk, req);
	if (status == S_OK)
		queue_segment(blk, req);
	else
		finish(blk, req, status);
}

/* --- requests ------------------------------------------------------------------------------- */

void kiln__blk_op_done(void *data, struct kiln__blk_op *op, int error)
{
	struct kiln__blk *blk = data;
	struct request *req = (struct request *)(void *)op;

	switch (req->type) {
	case T_IN:
	case T_OUT:
		transfer_done(blk, req, error);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		segment_done(blk, req, error);
		break;
	default:
		finish(blk, req, error ? S_IOERR : S_OK);
		break;
	}
}

/* The pieces of @spans but @skip bytes at their beginning and @cut at their end. */
static bool set_iov(struct request *req, const struct kiln__span *spans, unsigned count,
		    size_t skip, size_t len)
{
	req->iov_count = 0;
	req->total = len;
	if (count > req->iov_cap) {
		struct iovec *iov = realloc(req->iov, count * sizeof(*iov));

		if (!iov)
			return false;
		req->iov = iov;
		req->iov_cap = count;
	}
	for (unsigned i = 0; i < count && len > 0; i++) {
		size_t n = spans[i].len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n -= skip;
		if (n > len)
			n = len;
		req->iov[req->iov_count++] = (struct iovec){spans[i].host + skip, n};
		len -= n;
		skip = 0;
	}
	return true;
}

static void begin_flush(struct kiln__blk *blk, struct request *req)
{
	if (blk->cache == KILN__BLK_UNSAFE || blk->readonly) {
		finish(blk, req, S_OK);
		return;
	}
	req->op.offset = 0;
	req->op.length = 0;
	queue_op(blk, req, KILN__BLK_FLUSH);
}

void kiln__blk_begin(struct kiln__blk *blk, struct request *req, const struct header *header,
		     const struct kiln__chain *chain)
{
	bool have_memory = true;

	if (req->type == T_IN)
		have_memory = set_iov(req, chain->writable, chain->writable_count, 0,
				      chain->write_len - 1);
	else if (req->type == T_OUT)
		have_memory = set_iov(req, chain->readable, chain->readable_count, sizeof(*header),
				      chain->read_len - sizeof(*header));
	if (!have_memory) {
		finish(blk, req, S_IOERR);
		return;
	}
	switch (req->type) {
	case T_IN:
	case T_OUT:
		begin_transfer(blk, req, KILN__LE64(header->sector));
		break;
	case T_FLUSH:
		begin_flush(blk, req);
		break;
	case T_GET_ID:
		kiln__chain_write(chain, 0, blk->serial,
				  req->data_len < ID_BYTES ? req->data_len : ID_BYTES);
		if (req->data_len > ID_BYTES)
			req->data_len = 0; /* the rest is not written */
		finish(blk, req, S_OK);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		begin_segments(blk, req, chain);
		break;
	default:
		finish(blk, req, S_UNSUPP);
		break;
	}
}
