/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (virtio 1.2, section 5.2): one queue of requests; blk_request.c
 * carries them out.
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
 * Trusts nothing of the guest: headers and segments are copied before they are looked at. What no
 * driver can have made (no header, no room for a status) breaks the device; all else gets a
 * status of its own.
 */
#include "blk_internal.h"

#include "err.h"
#include "le.h"

#include <stdlib.h>
#include <string.h>

#define DEVICE_ID     2   /* section 5 */
#define QUEUE_SIZE    256 /* and at least 128: SEG_MAX, header and status make a chain */
#define SEG_MAX       126
#define MAX_UNDER_WAY 128
#define KICKS_OFF_AT  8 /* so many under way: kicks stay off */
#define MAX_ROUNDS    4 /* before others on the loop have their turn */

#define CONFIG_SIZE 60u /* without what C fills it up with */

static struct kiln__blk *blk_of(struct kiln__virtio *dev)
{
	return (struct kiln__blk *)(void *)dev;
}

/* --- the queue ------------------------------------------------------------------------------ */

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
	kiln__blk_begin(blk, req, &header, chain);
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

static const struct kiln__blk_io_user io_user = {.done = kiln__blk_op_done, .batch = on_batch};

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
