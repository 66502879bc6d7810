/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (virtio 1.2, section 5.2) on a raw file, a block device, or a
 * range of either.
 *
 * All functions are for the thread of the device's loop. Callbacks run from the loop; they must
 * not free the device or its transport (do that from a kiln__deferred).
 */
#ifndef KILN_VMM_BLK_H
#define KILN_VMM_BLK_H

#include <kiln/error.h>

#include "fd.h"
#include "loop.h"
#include "virtio.h"

#include <stdbool.h>
#include <stdint.h>

enum kiln__blk_cache {
	KILN__BLK_WRITEBACK, /* the host's page cache; flushes reach the disk */
	KILN__BLK_DIRECT,    /* O_DIRECT: past the page cache; flushes reach the disk */
	KILN__BLK_UNSAFE,    /* flushes do nothing: for what need not outlive the host */
};

struct kiln__blk_options {
	const char *path; /* of the file; or NULL, and */
	kiln_fd fd;       /* an open one, which stays the caller's */
	uint64_t offset;  /* where the disk begins in it */
	uint64_t length;  /* 0: to the end */
	bool readonly;
	bool discard;       /* the guest may give blocks back */
	const char *serial; /* at most 20 bytes, or NULL */
	enum kiln__blk_cache cache;
	bool no_ring; /* threads, where io_uring could be had */
};

struct kiln__blk;

/*
 * Opens the file, locks it (see blk_file.h) and makes the device, which waits for a transport to
 * attach. KILN_EBUSY: the disk is in use, here or in another process; KILN_EINVAL: the range is
 * not in the file, or no disk can be made of it; KILN_ENOTSUP: its file system has no O_DIRECT.
 */
int kiln__blk_new(struct kiln__blk **ret, kiln_loop *loop, const struct kiln__blk_options *options,
		  kiln_error *err);

/* Frees the device, from which the transport must have parted. NULL is allowed. */
void kiln__blk_free(struct kiln__blk *blk);

/* The device for its transport. Lives as long as @blk. */
struct kiln__virtio *kiln__blk_device(struct kiln__blk *blk);

/*
 * Makes the io_uring now that the first request would make: for a process that is about to be
 * confined and cannot make one then (blk_uring.c says why); it would use threads. True if
 * there is one.
 */
bool kiln__blk_prepare(struct kiln__blk *blk);

/*
 * Takes no more requests, and calls @done, once, from the loop, when nothing is under way and
 * all that was is told to the guest: to pause, to take a snapshot, to stop. Requests that the guest
 * makes meanwhile wait for kiln__blk_resume(), which also cancels a drain that is not done.
 */
void kiln__blk_drain(struct kiln__blk *blk, kiln__call_fn done, void *data);
void kiln__blk_resume(struct kiln__blk *blk);

/* Bytes of the disk. */
uint64_t kiln__blk_size(const struct kiln__blk *blk);

#endif
