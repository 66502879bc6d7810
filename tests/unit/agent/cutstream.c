/* SPDX-License-Identifier: Apache-2.0 */
#include "cutstream.h"

#include "err.h"
#include "kiln_test.h"

#include <stdlib.h>

struct cutstream {
	struct kiln__stream stream;
	struct kiln__stream *inner;
	struct kiln__deferred *breaking;
	struct cut *cut;
};

static void on_breaking(void *data)
{
	struct cutstream *s = data;
	kiln_error err;

	kiln__stream_close(s->inner);
	s->inner = NULL;
	s->cut->happened = true;
	kiln__fail(&err, KILN_EIO, "cut");
	s->stream.handler->on_error(s->stream.handler_data, &err);
}

static void check(struct cutstream *s)
{
	if (s->cut->in >= s->cut->in_max || s->cut->out >= s->cut->out_max)
		kiln__deferred_schedule(s->breaking);
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct cutstream *s = data;
	struct cut *cut = s->cut;
	size_t n = len;
	size_t used;

	if (n > cut->in_max - cut->in)
		n = (size_t)(cut->in_max - cut->in);
	if (n == 0)
		return len; /* the rest is lost */
	/* Counted before: the handler may close this stream. */
	cut->in += n;
	check(s);
	used = s->stream.handler->on_data(s->stream.handler_data, bytes, n);
	if (used < n)
		cut->in -= n - used;
	return used;
}

static void on_eof(void *data)
{
	struct cutstream *s = data;

	s->stream.handler->on_eof(s->stream.handler_data);
}

static void on_writable(void *data)
{
	struct cutstream *s = data;

	s->stream.handler->on_writable(s->stream.handler_data);
}

static void on_error(void *data, const kiln_error *err)
{
	struct cutstream *s = data;

	s->stream.handler->on_error(s->stream.handler_data, err);
}

static const struct kiln__stream_handler inner_handler = {on_data, on_eof, on_writable, on_error};

static ssize_t cut_write(struct kiln__stream *stream, const void *bytes, size_t len)
{
	struct cutstream *s = (struct cutstream *)stream;
	ssize_t n;

	if (len > s->cut->out_max - s->cut->out)
		len = (size_t)(s->cut->out_max - s->cut->out);
	n = len && s->inner ? kiln__stream_write(s->inner, bytes, len) : 0;
	if (n > 0)
		s->cut->out += (uint64_t)n;
	check(s);
	return n;
}

static void cut_shutdown(struct kiln__stream *stream)
{
	struct cutstream *s = (struct cutstream *)stream;

	if (s->inner)
		kiln__stream_shutdown(s->inner);
}

static void cut_resume(struct kiln__stream *stream)
{
	struct cutstream *s = (struct cutstream *)stream;

	if (s->inner)
		kiln__stream_resume(s->inner);
}

static void cut_close(struct kiln__stream *stream)
{
	struct cutstream *s = (struct cutstream *)stream;

	kiln__stream_close(s->inner);
	kiln__deferred_free(s->breaking);
	free(s);
}

static const struct kiln__stream_ops ops = {cut_write, cut_shutdown, cut_resume, cut_close};

struct kiln__stream *cutstream_new(struct kiln__stream *inner, kiln_loop *loop, struct cut *cut)
{
	struct cutstream *s = calloc(1, sizeof(*s));
	kiln_error err;

	assert_non_null(s);
	s->stream.ops = &ops;
	s->inner = inner;
	s->cut = cut;
	kiln_ok(kiln__deferred_new(&s->breaking, loop, on_breaking, s, &err), &err);
	kiln__stream_set_handler(inner, &inner_handler, s);
	check(s);
	return &s->stream;
}
