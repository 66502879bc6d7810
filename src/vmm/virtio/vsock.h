/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio socket device (virtio 1.2, section 5.10): stream connections between
 * this process and the guest, in both directions, as struct kiln__stream.
 *
 * All functions are for the thread of the device's loop. Handlers and callbacks
 * run from the loop; they may open, write, resume and close streams, but must not
 * free the device or its transport (do that from a kiln__deferred).
 */
#ifndef KILN_VMM_VSOCK_H
#define KILN_VMM_VSOCK_H

#include <kiln/error.h>

#include "loop.h"
#include "stream.h"
#include "virtio.h"

#include <stdbool.h>
#include <stdint.h>

struct kiln__vsock;

/* The stream, or NULL and why there is none. */
typedef void (*kiln__vsock_connected_fn)(void *data, struct kiln__stream *stream,
					 const kiln_error *err);

/*
 * The guest connects to @port of the host, from its port @from: true takes @stream, false refuses
 * it (and it is gone).
 */
typedef bool (*kiln__vsock_accept_fn)(void *data, uint32_t port, uint32_t from,
				      struct kiln__stream *stream);

/*
 * Makes the device of a guest whose context id is @guest_cid (3 to 0xfffffffe; else
 * KILN_EINVAL). It waits for a transport to attach.
 */
int kiln__vsock_new(struct kiln__vsock **ret, kiln_loop *loop, uint64_t guest_cid, kiln_error *err);

/*
 * Frees the device, from which the transport must have parted. Streams still open
 * get their on_error now, and remain, broken, until their users close them.
 * NULL is allowed.
 */
void kiln__vsock_free(struct kiln__vsock *vsock);

/* The device for its transport. Lives as long as @vsock. */
struct kiln__virtio *kiln__vsock_device(struct kiln__vsock *vsock);

/*
 * Connects to a port of the guest. @done is called once: with the stream when the guest
 * has accepted, else with the reason: KILN_EIO if it refuses, KILN_ETIMEDOUT if it does
 * not answer within ten seconds, KILN_EDIED if its driver was reset meanwhile; from inside
 * this call KILN_ESTATE if the guest's driver has not started (a paused guest's has),
 * KILN_EBUSY if there are too many connections, KILN_ENOMEM.
 */
void kiln__vsock_connect(struct kiln__vsock *vsock, uint32_t port, kiln__vsock_connected_fn done,
			 void *data);

/*
 * Sets who is asked when the guest connects to a port of the host; NULL (as in the
 * beginning) refuses all. @accept may set the stream's handler, write, resume and close.
 */
void kiln__vsock_listen(struct kiln__vsock *vsock, kiln__vsock_accept_fn accept, void *data);

/* This side's port of a vsock stream. */
uint32_t kiln__vsock_local_port(const struct kiln__stream *stream);

/*
 * Tells the driver that all connections are gone and that its context id may have
 * changed (5.10.6.7), as after a restore from a snapshot; ends them here too. Needs
 * a transport that passes the event queue (vhost-user front-ends keep it).
 */
void kiln__vsock_transport_reset(struct kiln__vsock *vsock);

#endif
