/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that become streams, and the public face of a stream. */
#include "manager.h"

#include "err.h"
#include "stream.h"

#include <stdlib.h>
#include <string.h>

/*
 * Until its receiver listens and resumes it, a stream takes nothing: data waits below,
 * the end and an error are kept here.
 */
struct kiln_stream {
	struct kiln__stream *inner;
	kiln_stream_callbacks callbacks;
	bool resumed;
	bool eof;    /* not told yet */
	bool broken; /* not told yet; "why" */
	kiln_error why;
	unsigned busy;
	bool closed;
};

static bool leave(kiln_stream *stream)
{
	if (--stream->busy == 0 && stream->closed) {
		free(stream);
		return false;
	}
	return !stream->closed;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	kiln_stream *stream = data;

	if (!stream->resumed || !stream->callbacks.on_data)
		return 0;
	return stream->callbacks.on_data(stream->callbacks.data, bytes, len);
}

/* Tells what was kept. */
static void tell_end(kiln_stream *stream)
{
	if (!stream->resumed)
		return;
	stream->busy++;
	if (stream->eof && stream->callbacks.on_eof) {
		stream->eof = false;
		stream->callbacks.on_eof(stream->callbacks.data);
	}
	if (stream->broken && !stream->closed && stream->callbacks.on_error) {
		stream->broken = false;
		stream->callbacks.on_error(stream->callbacks.data, &stream->why);
	}
	leave(stream);
}

static void on_eof(void *data)
{
	kiln_stream *stream = data;

	stream->eof = true;
	tell_end(stream);
}

static void on_writable(void *data)
{
	kiln_stream *stream = data;

	if (stream->callbacks.on_writable)
		stream->callbacks.on_writable(stream->callbacks.data);
}

static void on_error(void *data, const kiln_error *err)
{
	kiln_stream *stream = data;

	stream->broken = true;
	stream->why = *err;
	tell_end(stream);
}

static const struct kiln__stream_handler handler = {on_data, on_eof, on_writable, on_error};

kiln_stream *kiln__stream_wrap(struct kiln__stream *inner)
{
	kiln_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->inner = inner;
	kiln__stream_set_handler(inner, &handler, stream);
	return stream;
}

void kiln_stream_listen(kiln_stream *stream, const kiln_stream_callbacks *callbacks)
{
	size_t size = callbacks->size < sizeof(*callbacks) ? callbacks->size : sizeof(*callbacks);

	memset(&stream->callbacks, 0, sizeof(stream->callbacks));
	memcpy(&stream->callbacks, callbacks, size);
}

void kiln_stream_resume(kiln_stream *stream)
{
	stream->resumed = true;
	stream->busy++;
	kiln__stream_resume(stream->inner);
	if (leave(stream))
		tell_end(stream);
}

int64_t kiln_stream_write(kiln_stream *stream, const void *bytes, size_t len)
{
	return kiln__stream_write(stream->inner, bytes, len);
}

void kiln_stream_shutdown(kiln_stream *stream)
{
	kiln__stream_shutdown(stream->inner);
}

void kiln_stream_close(kiln_stream *stream)
{
	if (!stream)
		return;
	kiln__stream_close(stream->inner);
	stream->closed = true;
	if (stream->busy == 0)
		free(stream);
}

/* --- connect and console --------------------------------------------------------------- */

static void begin(kiln_vm *vm, const struct kiln__op_kind *kind, json_t *params, kiln_stream_fn fn,
		  void *data)
{
	struct kiln__op *op = kiln__op_new(vm, kind, data);
	kiln_error err;

	if (!op) {
		json_decref(params);
		kiln__fail_nomem(&err);
		fn(data, NULL, &err);
		return;
	}
	op->public_stream = fn;
	op->params = params;
	kiln__op_ask(op);
}

static const struct kiln__op_kind connect_kind = {"connect", NULL, kiln__fail_not_alive};
static const struct kiln__op_kind console_kind = {"console", NULL, kiln__fail_not_alive};

void kiln_vm_connect(kiln_vm *vm, uint32_t port, kiln_stream_fn fn, void *data)
{
	begin(vm, &connect_kind, json_pack("{s:I}", "port", (json_int_t)port), fn, data);
}

void kiln_vm_console(kiln_vm *vm, kiln_stream_fn fn, void *data)
{
	begin(vm, &console_kind, NULL, fn, data);
}
