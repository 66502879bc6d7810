/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio entropy device (virtio 1.2, section 5.4): randomness from this host's kernel.
 * For the thread of the device's loop.
 */
#ifndef KILN_VMM_RNG_H
#define KILN_VMM_RNG_H

#include <kiln/error.h>

#include "loop.h"
#include "virtio.h"

struct kiln__rng;

/* What waits of a guest's requests, rng.c: in milliseconds. */
struct kiln__rng_pace {
	uint64_t
		quiet; /* since the last answer and other devices' use: then nobody is in a hurry */
	uint64_t wait; /* so long, unless another device is used */
};

/* @pace: NULL for the usual one. */
int kiln__rng_new(struct kiln__rng **ret, kiln_loop *loop, const struct kiln__rng_pace *pace,
		  kiln_error *err);

/* Another device of the guest is used: what waits is answered. */
void kiln__rng_others_active(struct kiln__rng *rng);

/* Frees the device, from which the transport must have parted. NULL is allowed. */
void kiln__rng_free(struct kiln__rng *rng);

/* The device for its transport. Lives as long as @rng. */
struct kiln__virtio *kiln__rng_device(struct kiln__rng *rng);

#endif
