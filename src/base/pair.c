/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

#include "buf.h"
#include "err.h"

#include <stdbool.h>
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

static bool can_write(const struct half *half)
{
	return !half->peer || half->peer->in.len < half->peer->room;
}

static bool can_deliver(const struct half *half)
{
	return !half->paused && (half->in.len || (half->eof && !half->eof_told));
}

static void deliver(struct half *half)
{
	const struct kiln__stream_handler *handler = half->stream.handler;
	size_t len = half->in.len < half->chunk ? half->in.len : half->chunk;
	size_t n;

	if (len == 0) {
		half->eof_told = true;
		handler->on_eof(half->stream.handler_data);
		return;
	}
	n = handler->on_data(half->stream.handler_data, half->in.data, len);
	if (half->closed)
		return;
	kiln__buf_drop(&half->in, n);
	if (n < len)
		half->paused = true;
	if (n && half->peer && half->peer->want_write)
		kiln__deferred_schedule(half->peer->deferred);
}

static void on_deferred(void *data)
{
	struct half *half = data;

	half->busy = true;
	if (half->want_write && can_write(half)) {
		half->want_write = false;
		if (half->stream.handler && half->stream.handler->on_writable)
			half->stream.handler->on_writable(half->stream.handler_data);
	}
	if (!half->closed && can_deliver(half))
		deliver(half);
	half->busy = false;
	if (half->closed)
		release(half);
	else if (can_deliver(half))
		kiln__deferred_schedule(half->deferred);
}

static ssize_t half_write(struct kiln__stream *stream, const void *bytes, size_t len)
{
	struct half *half = (struct half *)stream;
	struct half *peer = half->peer;
	size_t room;

	if (!peer || half->shut)
		return KILN_EIO;
	room = peer->room > peer->in.len ? peer->room - peer->in.len : 0;
	if (len > room) {
		len = room;
		half->want_write = true;
	}
	if (len == 0)
		return 0;
	if (kiln__buf_reserve(&peer->in, len) < 0)
		return KILN_ENOMEM;
	kiln__buf_add(&peer->in, bytes, len);
	kiln__deferred_schedule(peer->deferred);
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

static int half_new(struct half **ret, kiln_loop *loop, size_t chunk, size_t room, kiln_error *err)
{
	struct half *half = calloc(1, sizeof(*half));
	int r;

	if (!half)
		return kiln__fail_nomem(err);
	r = kiln__deferred_new(&half->deferred, loop, on_deferred, half, err);
	if (r < 0) {
		free(half);
		return r;
	}
	half->stream.ops = &half_ops;
	half->chunk = chunk;
	half->room = room;
	half->paused = true;
	*ret = half;
	return 0;
}

int kiln__pair_new(struct kiln__stream *ret[2], kiln_loop *loop, size_t chunk, size_t room,
		   kiln_error *err)
{
	struct half *a;
	struct half *b;
	int r = half_new(&a, loop, chunk, room, err);

	if (r < 0)
		return r;
	r = half_new(&b, loop, chunk, room, err);
	if (r < 0) {
		release(a);
		return r;
	}
	a->peer = b;
	b->peer = a;
	ret[0] = &a->stream;
	ret[1] = &b->stream;
	return 0;
}
