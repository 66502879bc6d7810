/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that become streams, and the public face of a stream. */
#include "manager.h"

#include "err.h"
#include "stream.h"

#include <stdlib.h>
#include <string.h>

struct kiln_stream {
	struct kiln__stream *inner;
	kiln_stream_callbacks callbacks;
};

static size_t on_data(void *data, const void *bytes, size_t len)
{
	kiln_stream *stream = data;

	return stream->callbacks.on_data(stream->callbacks.data, bytes, len);
}

static void on_eof(void *data)
{
	kiln_stream *stream = data;

	if (stream->callbacks.on_eof)
		stream->callbacks.on_eof(stream->callbacks.data);
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

	if (stream->callbacks.on_error)
		stream->callbacks.on_error(stream->callbacks.data, err);
}

static const struct kiln__stream_handler handler = {on_data, on_eof, on_writable, on_error};

kiln_stream *kiln__stream_wrap(struct kiln__stream *inner)
{
	kiln_stream *stream = calloc(1, sizeof(*stream));

	if (stream)
		stream->inner = inner;
	return stream;
}

void kiln_stream_listen(kiln_stream *stream, const kiln_stream_callbacks *callbacks)
{
	size_t size = callbacks->size < sizeof(*callbacks) ? callbacks->size : sizeof(*callbacks);

	memset(&stream->callbacks, 0, sizeof(stream->callbacks));
	memcpy(&stream->callbacks, callbacks, size);
	kiln__stream_set_handler(stream->inner, &handler, stream);
}

void kiln_stream_resume(kiln_stream *stream)
{
	kiln__stream_resume(stream->inner);
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
