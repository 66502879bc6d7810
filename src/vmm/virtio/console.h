/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio console (virtio 1.2, section 5.3): port 0 is the guest's hvc0; further ports, if there
 * are any, are byte channels with names (/dev/virtio-ports/NAME).
 *
 * With one port the device is the plain one of two queues. VIRTIO_CONSOLE_F_MULTIPORT, which costs
 * two more queues and a conversation of a dozen messages at boot, is only offered where there are
 * more ports: opening, closing and naming is of use to those alone. The number of ports is the
 * configured one, not the 31 that others announce.
 *
 * All functions are for the thread of the device's loop. Handlers run from the loop and from inside
 * the transport's calls; they may write, resume and resize, but must not free the device.
 */
#ifndef KILN_VMM_CONSOLE_H
#define KILN_VMM_CONSOLE_H

#include <kiln/error.h>

#include "loop.h"
#include "virtio.h"

#include <stdbool.h>
#include <stdint.h>

#define KILN__CONSOLE_MAX_PORTS 6 /* what KILN__VIRTIO_MAX_QUEUES leaves */

struct kiln__console_handler {
	/*
	 * The guest has written: returns how many bytes it took. If fewer, the rest stays with the
	 * guest until kiln__console_resume().
	 */
	size_t (*output)(void *data, unsigned port, const void *bytes, size_t len);
	/* After a short kiln__console_write(): there is room again. NULL is allowed. */
	void (*writable)(void *data, unsigned port);
	/* The guest has opened or closed a port (of several). NULL is allowed. */
	void (*opened)(void *data, unsigned port, bool open);
};

struct kiln__console_options {
	unsigned port_count; /* at least 1 */
	const char *const
		*names;   /* of each port but the first, at most 31 bytes; borrowed until freed */
	uint16_t columns; /* of the terminal; 0: unknown */
	uint16_t rows;
	const struct kiln__console_handler *handler;
	void *data;
};

struct kiln__console;

int kiln__console_new(struct kiln__console **ret, kiln_loop *loop,
		      const struct kiln__console_options *options, kiln_error *err);

/* Frees the device, from which the transport must have parted. NULL is allowed. */
void kiln__console_free(struct kiln__console *console);

/* The device for its transport. Lives as long as @console. */
struct kiln__virtio *kiln__console_device(struct kiln__console *console);

/* Input for the guest: takes what it has room for and returns the count. */
size_t kiln__console_write(struct kiln__console *console, unsigned port, const void *bytes,
			   size_t len);

/* Delivery of output goes on, in the loop's next round. */
void kiln__console_resume(struct kiln__console *console, unsigned port);

/* The terminal of port 0 has another size. */
void kiln__console_resize(struct kiln__console *console, uint16_t columns, uint16_t rows);

/* This side of a port (not 0) has been opened or closed: what the guest's program sees as such. */
void kiln__console_set_open(struct kiln__console *console, unsigned port, bool open);

#endif
