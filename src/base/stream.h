/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte streams with back-pressure and half close: what a guest's vsock
 * connection, a control connection or an in-memory pair look like to their user.
 *
 * One side implements struct kiln__stream_ops; the user holds a struct
 * kiln__stream and gives it a handler. All on the loop's thread.
 *
 * Reading: the implementation calls on_data with what has arrived; the handler
 * returns how many bytes it consumed. If fewer, delivery pauses and the rest is
 * kept by the implementation (which tells its peer to hold back) until
 * kiln__stream_resume(). on_eof follows the last data once the peer has closed its
 * writing side; writing remains possible. on_error ends both directions.
 * Writing: kiln__stream_write() takes what fits and returns the count, 0 if
 * nothing; if short, on_writable is called when there is room again.
 * Handlers are never called from inside kiln__stream_* calls, except
 * on_data, on_eof and on_error from kiln__stream_resume().
 */
#ifndef KILN_BASE_STREAM_H
#define KILN_BASE_STREAM_H

#include "cleanup.h"

#include <kiln/error.h>

#include <stddef.h>
#include <sys/types.h>

struct kiln__stream;

struct kiln__stream_handler {
	size_t (*on_data)(void *data, const void *bytes, size_t len);
	void (*on_eof)(void *data);
	void (*on_writable)(void *data);
	void (*on_error)(void *data, const kiln_error *err);
};

struct kiln__stream_ops {
	/* Bytes taken (0..len), or a negative code once the stream is broken. */
	ssize_t (*write)(struct kiln__stream *stream, const void *bytes, size_t len);
	void (*shutdown)(struct kiln__stream *stream); /* no more writes; the peer sees end of file
							  after what was written */
	void (*resume)(struct kiln__stream *stream);
	void (*close)(struct kiln__stream *stream); /* both directions; frees the stream */
};

/* Embedded as the first member by an implementation. */
struct kiln__stream {
	const struct kiln__stream_ops *ops;
	const struct kiln__stream_handler *handler;
	void *handler_data;
};

/* Sets who is told. Delivery begins only with the first kiln__stream_resume(). */
static inline void kiln__stream_set_handler(struct kiln__stream *stream,
					    const struct kiln__stream_handler *handler, void *data)
{
	stream->handler = handler;
	stream->handler_data = data;
}

static inline ssize_t kiln__stream_write(struct kiln__stream *stream, const void *bytes, size_t len)
{
	return stream->ops->write(stream, bytes, len);
}

static inline void kiln__stream_shutdown(struct kiln__stream *stream)
{
	stream->ops->shutdown(stream);
}

static inline void kiln__stream_resume(struct kiln__stream *stream)
{
	stream->ops->resume(stream);
}

/* Ends the stream and frees it; no handler is called any more. May be called from a handler. NULL
 * is allowed. */
static inline void kiln__stream_close(struct kiln__stream *stream)
{
	if (stream)
		stream->ops->close(stream);
}

KILN__DEFINE_AUTOPTR(struct kiln__stream, kiln__stream_close)

#endif
