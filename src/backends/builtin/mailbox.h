/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vCPU threads leave for the loop: bytes of the early console, and that the guest has
 * panicked. Bounded: a guest that writes faster than the loop reads loses what does not fit.
 */
#ifndef KILN_BACKENDS_BUILTIN_MAILBOX_H
#define KILN_BACKENDS_BUILTIN_MAILBOX_H

#include "loop.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define KILN__MAILBOX_CONSOLE 16384

struct kiln__mailbox_handler {
	void (*console)(void *data, const uint8_t *bytes, size_t len);
	void (*panicked)(void *data);
};

struct kiln__mailbox {
	struct kiln__waker *waker;
	const struct kiln__mailbox_handler *handler;
	void *data;
	pthread_mutex_t lock; /* guards the rest */
	uint8_t *console;     /* made by the first byte */
	size_t len;
	bool panicked;
};

int kiln__mailbox_init(struct kiln__mailbox *box, kiln_loop *loop,
		       const struct kiln__mailbox_handler *handler, void *data, kiln_error *err);
void kiln__mailbox_done(struct kiln__mailbox *box); /* also of one that was never made */

/* Any thread. */
void kiln__mailbox_put(struct kiln__mailbox *box, uint8_t byte);
void kiln__mailbox_panicked(struct kiln__mailbox *box);

/* Tells at once what waits, on the loop's thread: before the end is told. */
void kiln__mailbox_flush(struct kiln__mailbox *box);

#endif
