/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a virtio device model and a virtio transport (virtio 1.2, sections 2
 * and 4). A device model (vsock, ...) knows queues and guest memory; a transport
 * (PCI in a VMM of our own, vhost-user to somebody else's) knows how the driver
 * reaches them. Neither knows the other: the model implements struct
 * kiln__virtio_ops, the transport struct kiln__virtio_transport.
 *
 * The life of a device, in the transport's calls:
 *   kiln__virtio_attach      once
 *   kiln__virtio_negotiate   with what the driver accepted
 *   kiln__virtio_queue_start for each queue that the driver set up
 *   kiln__virtio_kick        when the driver kicks a queue
 *   kiln__virtio_queue_stop  while the guest is paused or its memory moves:
 *                            nothing is lost, start goes on where it was
 *   kiln__virtio_reset       the driver reset the device, or is gone
 *
 * All of it on the thread that runs the device's loop. The model calls the
 * transport's functions from inside those calls and from its own callbacks; the
 * transport's functions never call back into the device.
 */
#ifndef KILN_VMM_VIRTIO_H
#define KILN_VMM_VIRTIO_H

#include <kiln/error.h>

#include "fd.h"
#include "gmem.h"
#include "queue.h"

/* Feature bits that belong to ring and transport (section 6). */
#define KILN__VIRTIO_F_INDIRECT_DESC (1ULL << 28)
#define KILN__VIRTIO_F_EVENT_IDX     (1ULL << 29)
#define KILN__VIRTIO_F_VERSION_1     (1ULL << 32)

/* What every model gets from the walker. */
#define KILN__VIRTIO_RING_FEATURES                                                                 \
	(KILN__VIRTIO_F_INDIRECT_DESC | KILN__VIRTIO_F_EVENT_IDX | KILN__VIRTIO_F_VERSION_1)

#define KILN__VIRTIO_MAX_QUEUES 16

struct kiln__virtio;

/* A device model. Constant. */
struct kiln__virtio_ops {
	const char *name;            /* for messages: "vsock" */
	uint16_t id;                 /* device type (section 5) */
	uint16_t queue_count;        /* at most KILN__VIRTIO_MAX_QUEUES */
	const uint16_t *queue_sizes; /* the largest size of each */
	uint64_t features;           /* offered, ring features included */
	uint32_t config_size;        /* bytes of device configuration space */
	/*
	 * Each queue has an interrupt of its own, where the transport has such: worth the exits of
	 * setting it up only where the driver's work would go to several processors.
	 */
	bool own_interrupts;

	/* Copies from configuration space; the range has been checked. */
	void (*config_read)(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len);

	/* The driver writes to it. NULL: nothing of it is writable. */
	void (*config_write)(struct kiln__virtio *dev, uint32_t offset, const void *bytes,
			     uint32_t len);

	/* There may be something in the queue: it was kicked, or has just become ready. */
	void (*notified)(struct kiln__virtio *dev, unsigned queue);

	/*
	 * The queue is about to stop: what the model still has under way in guest memory must be
	 * over when this returns, and may be pushed in here. NULL: the model holds no chains.
	 */
	void (*stopping)(struct kiln__virtio *dev, unsigned queue);

	/* Forget everything about the driver; all queues have been stopped. */
	void (*reset)(struct kiln__virtio *dev);
};

struct kiln__virtio_transport {
	/* Interrupt the driver: something was pushed to the queue. */
	void (*notify)(void *data, unsigned queue);
	/* The driver broke its side of a queue: set DEVICE_NEEDS_RESET (2.1.2), or what comes near.
	 */
	void (*needs_reset)(void *data, unsigned queue, const char *fault);
	/*
	 * Configuration space has changed (2.5.1: a new generation), tell the driver. NULL: this
	 * transport cannot; the driver sees it when it happens to read.
	 */
	void (*config_changed)(void *data);
	/*
	 * The descriptors of a queue that runs, for a back-end in the kernel: *ret_kick becomes
	 * readable when the driver kicks, writing to *ret_call interrupts it. Both stay the
	 * transport's and are valid until the queue stops; from here until then, or until they are
	 * given back (NULL, NULL), it does not look at *ret_kick itself. NULL, or KILN_ENOTSUP:
	 * there are none, the model does the work itself.
	 */
	int (*queue_fds)(void *data, unsigned queue, kiln_fd *ret_kick, kiln_fd *ret_call);
};

/* Embedded as the first member by a model. */
struct kiln__virtio {
	const struct kiln__virtio_ops *ops;
	const struct kiln__virtio_transport *transport; /* NULL: not attached */
	void *transport_data;
	uint64_t features; /* negotiated */
	bool broken;       /* waits for a reset; no queue is touched until then */
	struct kiln__queue queues[KILN__VIRTIO_MAX_QUEUES];
};

/* --- for models -------------------------------------------------------------- */

void kiln__virtio_init(struct kiln__virtio *dev, const struct kiln__virtio_ops *ops);

/* Stops the queues. What else the model holds is its own to free. */
void kiln__virtio_done(struct kiln__virtio *dev);

/* Whether a queue may be used now. */
static inline bool kiln__virtio_usable(const struct kiln__virtio *dev, unsigned queue)
{
	return dev->queues[queue].ready && !dev->broken;
}

/* Tells the driver of what was pushed to a queue, if it wants to know. */
void kiln__virtio_notify(struct kiln__virtio *dev, unsigned queue);

/* Configuration space has changed by the host's doing: tells the driver, where the transport can.
 */
void kiln__virtio_config_changed(struct kiln__virtio *dev);

/* The transport's queue_fds; KILN_ENOTSUP if it has none. */
int kiln__virtio_queue_fds(struct kiln__virtio *dev, unsigned queue, kiln_fd *ret_kick,
			   kiln_fd *ret_call);

/*
 * Marks the device broken by its driver, once, for the fault of @queue (set by the
 * walker, or by the model with kiln__queue_break()), and tells the transport.
 */
void kiln__virtio_fail(struct kiln__virtio *dev, unsigned queue);

/* --- for transports ------------------------------------------------------------ */

/* Joins a device to its transport; NULL, NULL parts them. */
void kiln__virtio_attach(struct kiln__virtio *dev, const struct kiln__virtio_transport *transport,
			 void *data);

/* The features that the driver accepted. KILN_EPROTO if one was not offered. */
int kiln__virtio_negotiate(struct kiln__virtio *dev, uint64_t features, kiln_error *err);

/* Starts a queue (size and addresses are set in it) and lets the model look into it. */
int kiln__virtio_queue_start(struct kiln__virtio *dev, unsigned queue, const struct kiln__gmem *mem,
			     uint16_t next_avail, kiln_error *err);
void kiln__virtio_queue_stop(struct kiln__virtio *dev, unsigned queue);

/* The driver kicked the queue. Of a queue that is not ready: ignored. */
void kiln__virtio_kick(struct kiln__virtio *dev, unsigned queue);

/* Reads configuration space. KILN_EPROTO if the range is not in it. */
int kiln__virtio_config_read(struct kiln__virtio *dev, uint32_t offset, void *bytes, uint32_t len,
			     kiln_error *err);
int kiln__virtio_config_write(struct kiln__virtio *dev, uint32_t offset, const void *bytes,
			      uint32_t len, kiln_error *err);

/* Back to the state after kiln__virtio_init(), still attached. */
void kiln__virtio_reset(struct kiln__virtio *dev);

#endif
