/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (virtio 1.2, section 5.2): one queue of requests.
 *
 * Requests are taken as long as there are any and fewer than MAX_UNDER_WAY under way, handed to
 * blk_io.c together (one system call), and given back as they end, in any order; all that
 * have ended by a wake-up are told by one notification. The guest's memory is read and written
 * in place. While many are under way kicks stay off: the next completion comes soon, and
 * looks into the queue.
 *
 * No threads here. A stop of the queue (pause, new memory map, reset, the end) waits, on the loop,
 * until what is under way is over: the disk may be writing into guest memory, which is the driver's
 * again after a reset, and possibly unmapped after a stop. So no completion ever meets a later
 * life of the queue. Who wants to stop without blocking drains first.
 *
 * Order (5.2.6.2): a flush covers the writes that were told to be done before it was made
 * available; those are done in the file by then, so a sync of the file begun afterwards covers
 * them.
 *
 * Trusts nothing of the guest: headers and segments are copied before they are looked at. What no
 * driver can have made (no header, no room for a status) breaks the device; all else gets a
 * status of its own.
 */
#include "blk.h"

#include "blk_file.h"
#include "blk_io.h"
#include "err.h"
#include "le.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_ID     2   /* section 5 */
#define QUEUE_SIZE    256 /* and at least 128: SEG_MAX, header and status make a chain */
#define SEG_MAX       126
#define MAX_UNDER_WAY 128
#define KICKS_OFF_AT  8 /* so many under way: kicks stay off */
#define MAX_ROUNDS    4 /* before others on the loop have their turn */

#define SECTOR 512u

/* Feature bits (5.2.3). */
#define F_SEG_MAX      (1ULL << 2)
#define F_RO           (1ULL << 5)
#define F_BLK_SIZE     (1ULL << 6)
#define F_FLUSH        (1ULL << 9)
#define F_TOPOLOGY     (1ULL << 10)
#define F_CONFIG_WCE   (1ULL << 11)
#define F_DISCARD      (1ULL << 13)
#define F_WRITE_ZEROES (1ULL << 14)

/* Requests and their ends (5.2.6). */
#define T_IN           0u
#define T_OUT          1u
#define T_FLUSH        4u
#define T_GET_ID       8u
#define T_DISCARD      11u
#define T_WRITE_ZEROES 13u
#define S_OK           0u
#define S_IOERR        1u
#define S_UNSUPP       2u

#define ID_BYTES 20u

/* Discard and write zeroes: so many ranges in a request, so many sectors in one. */
#define MAX_SEGMENTS        32u
#define MAX_SEGMENT_SECTORS (1u << 21) /* 1 GiB */
#define SEGMENT_F_UNMAP     1u

#define BOUNCE_BYTES ((size_t)256 * 1024)

struct header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

struct segment {
	uint64_t sector;
	uint32_t count;
	uint32_t flags;
};

/* Configuration space (5.2.4), up to what write zeroes needs. */
struct config {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint16_t cylinders;
	uint8_t heads;
	uint8_t sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};

#define CONFIG_SIZE 60u /* without what C fills it up with */

_Static_assert(sizeof(struct header) == 16, "5.2.6");
_Static_assert(offsetof(struct config, write_zeroes_may_unmap) == 56, "5.2.4");
_Static_assert(offsetof(struct config, writeback) == 32, "5.2.4");

struct request {
	struct kiln__blk_op op; /* the step under way */
	struct request *next;   /* of the spare ones */
	uint16_t head;
	uint32_t type;
	unsigned char *status; /* in guest memory */
	uint32_t data_len;     /* of T_IN and GET_ID: bytes before the status */

	/*
	 * The guest's memory, and how far the op has come in it where it goes by a bounce buffer;
	 * that holds zeros where a segment is zeroed by writing.
	 */
	struct iovec *iov;
	unsigned iov_count;
	unsigned iov_cap;
	unsigned char *bounce; /* or NULL */
	size_t bounced;        /* bytes of the chunk under way */
	size_t at;             /* where that begins, of */
	size_t total;
	uint64_t offset; /* in the file, of byte 0 */
	struct iovec bounce_iov;

	struct segment segments[MAX_SEGMENTS];
	unsigned segment_count;
	unsigned segment_at;
};

struct kiln__blk {
	struct kiln__virtio virtio; /* first */
	struct kiln__virtio_ops ops;
	struct kiln__blk_file file;
	struct kiln__blk_io *io;
	struct kiln__deferred *again;
	struct kiln__deferred *drained;
	kiln__call_fn drain_done;
	void *drain_data;
	bool draining; /* takes no requests; drain_done is called once nothing is under way */
	struct request *spare;
	unsigned under_way;
	struct config config; /* as the guest sees it */
	enum kiln__blk_cache cache;
	bool readonly;
	bool discard;
	char serial[ID_BYTES];
};

static struct kiln__blk *blk_of(struct kiln__virtio *dev)
{
	return (struct kiln__blk *)(void *)dev;
}

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

static void on_op_done(void *data, struct kiln__blk_op *op, int error)
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

static void begin(struct kiln__blk *blk, struct request *req, const struct header *header,
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

/* The last byte of the writable part. */
static unsigned char *status_byte(const struct kiln__chain *chain)
{
	const struct kiln__span *last = &chain->writable[chain->writable_count - 1];

	return last->host + last->len - 1;
}

static struct request *new_request(struct kiln__blk *blk)
{
	struct request *req = blk->spare;

	if (!req)
		return calloc(1, sizeof(*req));
	blk->spare = req->next;
	return req;
}

static void take(struct kiln__blk *blk, const struct kiln__chain *chain)
{
	struct request *req = new_request(blk);
	struct header header;

	if (!req) {
		*(volatile unsigned char *)status_byte(chain) = S_IOERR;
		kiln__queue_push(&blk->virtio.queues[0], chain->head, 0);
		return;
	}
	kiln__chain_read(chain, 0, &header, sizeof(header));
	req->head = chain->head;
	req->type = KILN__LE32(header.type);
	req->status = status_byte(chain);
	req->data_len = (uint32_t)chain->write_len - 1;
	req->at = 0;
	req->op.durable = false;
	blk->under_way++;
	begin(blk, req, &header, chain);
}

/* Takes what there is, as far as there is room for it under way. False if the queue is broken. */
static bool take_all(struct kiln__blk *blk)
{
	struct kiln__queue *queue = &blk->virtio.queues[0];
	struct kiln__chain chain;

	for (unsigned i = 0; i < MAX_UNDER_WAY && blk->under_way < MAX_UNDER_WAY; i++) {
		int r = kiln__queue_pop(queue, &chain);

		if (r == 0)
			return true;
		if (r > 0 && (chain.read_len < sizeof(struct header) || chain.write_len == 0)) {
			kiln__queue_break(queue, "a request without header or status");
			r = KILN_EPROTO;
		}
		if (r < 0) {
			kiln__virtio_fail(&blk->virtio, 0);
			return false;
		}
		take(blk, &chain);
	}
	return true;
}

/* Works the queue off, and tells the driver of all that has ended. */
static void process(struct kiln__blk *blk)
{
	struct kiln__queue *queue = &blk->virtio.queues[0];
	bool more = kiln__virtio_usable(&blk->virtio, 0) && !blk->draining;

	kiln__queue_kicks_off(queue);
	for (unsigned round = 0; more; round++) {
		if (round == MAX_ROUNDS) {
			kiln__deferred_schedule(blk->again);
			break;
		}
		if (!take_all(blk))
			break;
		kiln__blk_io_submit(blk->io);
		/* A completion looks again, and comes soon. */
		if (blk->under_way >= KICKS_OFF_AT)
			break;
		more = kiln__queue_kicks_on(queue);
	}
	kiln__blk_io_submit(blk->io); /* what was taken before the queue broke */
	kiln__virtio_notify(&blk->virtio, 0);
}

static void on_again(void *data)
{
	process(data);
}

/* --- the device ------------------------------------------------------------------------- */

static void config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len)
{
	memcpy(bytes, (unsigned char *)&blk_of(dev)->config + offset, len);
}

/* 5.2.4: of it only "writeback" can be written, by a driver that took CONFIG_WCE. */
static void config_write(struct kiln__virtio *dev, uint32_t offset, const void *bytes, uint32_t len)
{
	const uint32_t at = offsetof(struct config, writeback);

	if ((dev->features & F_CONFIG_WCE) && offset <= at && at < offset + len)
		blk_of(dev)->config.writeback = ((const unsigned char *)bytes)[at - offset] & 1;
}

static void notified(struct kiln__virtio *dev, unsigned queue)
{
	(void)queue;
	process(blk_of(dev));
}

static void stopping(struct kiln__virtio *dev, unsigned queue)
{
	(void)queue;
	kiln__blk_io_wait(blk_of(dev)->io);
	kiln__virtio_notify(dev, 0);
}

static void reset(struct kiln__virtio *dev)
{
	blk_of(dev)->config.writeback = 1;
}

static const uint16_t queue_sizes[] = {QUEUE_SIZE};

static const struct kiln__virtio_ops virtio_ops = {
	.name = "blk",
	.id = DEVICE_ID,
	.queue_count = 1,
	.queue_sizes = queue_sizes,
	.features = KILN__VIRTIO_RING_FEATURES | F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH |
		    F_CONFIG_WCE,
	.config_size = CONFIG_SIZE,
	.config_read = config_read,
	.config_write = config_write,
	.notified = notified,
	.stopping = stopping,
	.reset = reset,
};

static void on_batch(void *data)
{
	process(data);
}

static const struct kiln__blk_io_user io_user = {.done = on_op_done, .batch = on_batch};

/* --- draining ---------------------------------------------------------------------------- */

static void on_drained(void *data)
{
	struct kiln__blk *blk = data;
	kiln__call_fn done = blk->drain_done;

	if (!blk->draining || blk->under_way > 0 || !done)
		return;
	kiln__virtio_notify(&blk->virtio, 0);
	blk->drain_done = NULL;
	done(blk->drain_data);
}

void kiln__blk_drain(struct kiln__blk *blk, kiln__call_fn done, void *data)
{
	blk->draining = true;
	blk->drain_done = done;
	blk->drain_data = data;
	if (blk->under_way == 0)
		kiln__deferred_schedule(blk->drained);
}

void kiln__blk_resume(struct kiln__blk *blk)
{
	blk->draining = false;
	blk->drain_done = NULL;
	kiln__deferred_schedule(blk->again); /* kicks may have been missed */
}

/* --- making and freeing --------------------------------------------------------------------- */

/* log2 of a power of two. */
static uint8_t exponent(uint32_t x)
{
	return (uint8_t)__builtin_ctz(x);
}

static void set_config(struct kiln__blk *blk)
{
	const struct kiln__blk_file *file = &blk->file;
	uint32_t block_sectors = file->block / SECTOR;

	blk->config = (struct config){
		.capacity = KILN__LE64(file->length / SECTOR),
		.seg_max = KILN__LE32(SEG_MAX),
		.blk_size = KILN__LE32(file->block),
		.physical_block_exp = exponent(file->physical_block / file->block),
		.writeback = 1,
		.num_queues = KILN__LE16(1),
	};
	if (!blk->readonly)
		blk->ops.features |= F_WRITE_ZEROES;
	if (!blk->readonly && blk->discard)
		blk->ops.features |= F_DISCARD;
	if (blk->readonly)
		blk->ops.features |= F_RO;
	if (blk->ops.features & F_DISCARD) {
		blk->config.max_discard_sectors = KILN__LE32(MAX_SEGMENT_SECTORS);
		blk->config.max_discard_seg = KILN__LE32(MAX_SEGMENTS);
		blk->config.discard_sector_alignment = KILN__LE32(block_sectors);
	}
	if (blk->ops.features & F_WRITE_ZEROES) {
		blk->config.max_write_zeroes_sectors = KILN__LE32(MAX_SEGMENT_SECTORS);
		blk->config.max_write_zeroes_seg = KILN__LE32(MAX_SEGMENTS);
		/* Zeros give their room back only where the configuration lets blocks go. */
		blk->config.write_zeroes_may_unmap = blk->discard;
	}
}

int kiln__blk_new(struct kiln__blk **ret, kiln_loop *loop, const struct kiln__blk_options *options,
		  kiln_error *err)
{
	struct kiln__blk *blk;
	int r;

	if (options->serial && strlen(options->serial) > ID_BYTES)
		return kiln__fail(err, KILN_EINVAL, "blk: serial \"%s\" is longer than %u bytes",
				  options->serial, ID_BYTES);
	blk = calloc(1, sizeof(*blk));
	if (!blk)
		return kiln__fail_nomem(err);
	blk->ops = virtio_ops;
	blk->file.fd = blk->file.lock = KILN_FD_NONE;
	blk->cache = options->cache;
	blk->readonly = options->readonly;
	blk->discard = options->discard;
	if (options->serial)
		memcpy(blk->serial, options->serial, strlen(options->serial));
	kiln__virtio_init(&blk->virtio, &blk->ops);
	r = kiln__blk_file_open(&blk->file, options, err);
	if (r == 0)
		r = kiln__blk_io_new(&blk->io, loop, blk->file.fd, MAX_UNDER_WAY, !options->no_ring,
				     &io_user, blk, err);
	if (r == 0)
		r = kiln__deferred_new(&blk->again, loop, on_again, blk, err);
	if (r == 0)
		r = kiln__deferred_new(&blk->drained, loop, on_drained, blk, err);
	if (r < 0) {
		kiln__blk_free(blk);
		return r;
	}
	set_config(blk);
	*ret = blk;
	return 0;
}

void kiln__blk_free(struct kiln__blk *blk)
{
	if (!blk)
		return;
	kiln__virtio_done(&blk->virtio);
	kiln__blk_io_free(blk->io);
	kiln__deferred_free(blk->again);
	kiln__deferred_free(blk->drained);
	while (blk->spare) {
		struct request *req = blk->spare;

		blk->spare = req->next;
		free(req->iov);
		free(req);
	}
	kiln__blk_file_close(&blk->file);
	free(blk);
}

struct kiln__virtio *kiln__blk_device(struct kiln__blk *blk)
{
	return &blk->virtio;
}

bool kiln__blk_prepare(struct kiln__blk *blk)
{
	return kiln__blk_io_prepare(blk->io);
}

uint64_t kiln__blk_size(const struct kiln__blk *blk)
{
	return blk->file.length;
}
