/* SPDX-License-Identifier: Apache-2.0 */
#include "mempair.h"

#include "buf.h"
#include "err.h"

#include <stdlib.h>

struct half {
	struct kiln__stream stream;
	struct half *peer; /* NULL: closed */
	struct kiln__deferred *deferred;
	struct kiln__buf in;
	size_t chunk;
	size_t room;
	bool paused;
	bool eof; /* nothing comes behind "in" */
	bool eof_told;
	bool want_write;
	bool shut;
	bool busy; /* a handler is on the stack */
	bool closed;
};

static void release(struct half *half)
{
	kiln__deferred_free(half->deferred);
	kiln__buf_done(&half->in);
	free(half);
}

static void deliver_some(struct half *half)
{
	const struct kiln__stream_handler *handler = half->stream.handler;
	size_t len = half->in.len < half->chunk ? half->in.len : half->chunk;

	if (len > 0) {
		size_t n = handler->on_data(half->stream.handler_data, half->in.data, len);

		if (half->closed)
			return;
		kiln__buf_drop(&half->in, n);
		if (n < len)
			half->paused = true;
		if (n && half->peer && half->peer->want_write)
			kiln__deferred_schedule(half->peer->deferred);
	} else if (half->eof && !half->eof_told) {
		half->eof_told = true;
		handler->on_eof(half->stream.handler_data);
	}
}

static void on_deferred(void *data)
{
	struct half *half = data;

	half->busy = true;
	if (half->want_write && (!half->peer || half->peer->in.len < half->peer->room)) {
		half->want_write = false;
		half->stream.handler->on_writable(half->stream.handler_data);
	}
	if (!half->closed && !half->paused)
		deliver_some(half);
	half->busy = false;
	if (half->closed)
		release(half);
	else if (!half->paused && (half->in.len || (half->eof && !half->eof_told)))
		kiln__deferred_schedule(half->deferred);
}

static ssize_t half_write(struct kiln__stream *stream, const void *bytes, size_t len)
{
	struct half *half = (struct half *)stream;
	size_t room;

	if (!half->peer || half->shut)
		return KILN_EIO;
	room = half->peer->room > half->peer->in.len ? half->peer->room - half->peer->in.len : 0;
	if (len > room) {
		len = room;
		half->want_write = true;
	}
	kiln__buf_add(&half->peer->in, bytes, len);
	kiln__deferred_schedule(half->peer->deferred);
	return (ssize_t)len;
}

static void half_shutdown(struct kiln__stream *stream)
{
	struct half *half = (struct half *)stream;

	half->shut = true;
	if (half->peer) {
		half->peer->eof = true;
		kiln__deferred_schedule(half->peer->deferred);
	}
}

static void half_resume(struct kiln__stream *stream)
{
	struct half *half = (struct half *)stream;

	half->paused = false;
	kiln__deferred_schedule(half->deferred);
}

static void half_close(struct kiln__stream *stream)
{
	struct half *half = (struct half *)stream;

	half_shutdown(stream);
	if (half->peer)
		half->peer->peer = NULL;
	half->closed = true;
	if (!half->busy)
		release(half);
}

static const struct kiln__stream_ops half_ops = {
	.write = half_write,
	.shutdown = half_shutdown,
	.resume = half_resume,
	.close = half_close,
};

int mempair_new(struct kiln__stream *ret[2], kiln_loop *loop, size_t chunk, size_t room)
{
	struct half *halves[2];

	for (int i = 0; i < 2; i++) {
		halves[i] = calloc(1, sizeof(*halves[i]));
		if (!halves[i] || kiln__deferred_new(&halves[i]->deferred, loop, on_deferred,
						     halves[i], NULL) < 0)
			abort();
		halves[i]->stream.ops = &half_ops;
		halves[i]->chunk = chunk;
		halves[i]->room = room;
		halves[i]->paused = true;
		ret[i] = &halves[i]->stream;
	}
	halves[0]->peer = halves[1];
	halves[1]->peer = halves[0];
	return 0;
}
