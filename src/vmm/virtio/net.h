/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio network device (virtio 1.2, section 5.1): one pair of queues, on a back-end that
 * moves frames (net_backend.h).
 *
 * All functions are for the thread of the device's loop. Callbacks run from the loop; they must not
 * free the device or its transport.
 */
#ifndef KILN_VMM_NET_H
#define KILN_VMM_NET_H

#include <kiln/error.h>

#include "loop.h"
#include "net_backend.h"
#include "virtio.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__net_options {
	uint8_t mac[6];
	uint16_t mtu; /* 0: the guest is not told */
	/* The back-end has failed, once; the guest sees the link go down. NULL is allowed. */
	void (*broken)(void *data, const kiln_error *err);
	void *data;
};

struct kiln__net;

/* @backend is owned from here on (on failure it stays the caller's). */
int kiln__net_new(struct kiln__net **ret, kiln_loop *loop, struct kiln__net_backend *backend,
		  const struct kiln__net_options *options, kiln_error *err);

/* Frees the device, from which the transport must have parted. NULL is allowed. */
void kiln__net_free(struct kiln__net *net);

/* The device for its transport. Lives as long as @net. */
struct kiln__virtio *kiln__net_device(struct kiln__net *net);

/* Plugs the cable in or out. It is in at first. */
void kiln__net_set_link(struct kiln__net *net, bool up);

/* Whether the kernel moves the frames by itself now (vhost). */
bool kiln__net_is_in_kernel(const struct kiln__net *net);

#endif
