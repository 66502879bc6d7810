/* SPDX-License-Identifier: Apache-2.0 */
#include "mailbox.h"

#include <stdlib.h>

void kiln__mailbox_flush(struct kiln__mailbox *box)
{
	uint8_t *bytes;
	size_t len;
	bool panicked;

	pthread_mutex_lock(&box->lock);
	bytes = box->console;
	len = box->len;
	panicked = box->panicked;
	box->console = NULL;
	box->len = 0;
	box->panicked = false;
	pthread_mutex_unlock(&box->lock);
	if (len)
		box->handler->console(box->data, bytes, len);
	free(bytes);
	if (panicked)
		box->handler->panicked(box->data);
}

static void on_wake(void *data)
{
	kiln__mailbox_flush(data);
}

int kiln__mailbox_init(struct kiln__mailbox *box, kiln_loop *loop,
		       const struct kiln__mailbox_handler *handler, void *data, kiln_error *err)
{
	*box = (struct kiln__mailbox){
		.handler = handler,
		.data = data,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	return kiln__waker_new(&box->waker, loop, on_wake, box, err);
}

void kiln__mailbox_done(struct kiln__mailbox *box)
{
	kiln__waker_free(box->waker);
	box->waker = NULL;
	free(box->console);
	box->console = NULL;
}

void kiln__mailbox_put(struct kiln__mailbox *box, uint8_t byte)
{
	bool first;

	pthread_mutex_lock(&box->lock);
	first = box->len == 0;
	if (!box->console)
		box->console = malloc(KILN__MAILBOX_CONSOLE);
	if (box->console && box->len < KILN__MAILBOX_CONSOLE)
		box->console[box->len++] = byte;
	pthread_mutex_unlock(&box->lock);
	if (first)
		kiln__waker_wake(box->waker);
}

void kiln__mailbox_panicked(struct kiln__mailbox *box)
{
	pthread_mutex_lock(&box->lock);
	box->panicked = true;
	pthread_mutex_unlock(&box->lock);
	kiln__waker_wake(box->waker);
}
