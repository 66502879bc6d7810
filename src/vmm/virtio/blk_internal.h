/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of the block device share: blk.c has the device (queue, features,
 * configuration space, draining), blk_request.c carries out requests.
 */
#ifndef KILN_VMM_BLK_INTERNAL_H
#define KILN_VMM_BLK_INTERNAL_H

#include "blk.h"
#include "blk_file.h"
#include "blk_io.h"
#include "virtio.h"

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

#define ID_BYTES 20u

/* How a request ends (5.2.6). */
#define S_OK     0u
#define S_IOERR  1u
#define S_UNSUPP 2u

/* Discard and write zeroes: so many ranges in a request, so many sectors in one. */
#define MAX_SEGMENTS        32u
#define MAX_SEGMENT_SECTORS (1u << 21) /* 1 GiB */

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

/* Carries out the request that @chain is, whose header was copied: it ends now or later. */
void kiln__blk_begin(struct kiln__blk *blk, struct request *req, const struct header *header,
		     const struct kiln__chain *chain);

/* A step of a request has ended: @data is the device. */
void kiln__blk_op_done(void *data, struct kiln__blk_op *op, int error);

#endif
