/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each side reads from its own stream and writes to the other's. A direction is over
 * when its end of file has been passed on, or its reading side has failed; when both
 * are over, so is the splice. Callbacks may free it: "calls" keeps it until the last
 * has returned.
 */
#include "splice.h"

#include "err.h"

#include <stdbool.h>
#include <stdlib.h>

struct side {
	struct kiln__splice *splice;
	struct side *other;
	struct kiln__stream *stream;
	bool over;    /* nothing comes from this stream any more */
	bool refuses; /* this stream takes no more writes */
};

struct kiln__splice {
	struct side sides[2];
	void (*on_end)(void *data, const kiln_error *err);
	void *data;
	kiln_error err; /* of the first failure; code 0: none */
	bool ended;     /* on_end has been called, or is not to be */
	bool freed;
	unsigned calls;
};

static void enter(struct kiln__splice *splice)
{
	splice->calls++;
}

/* At the end of each callback: ends the splice if all is over, frees it if it was freed meanwhile.
 */
static void leave(struct kiln__splice *splice)
{
	if (splice->calls == 1 && !splice->ended && splice->sides[0].over &&
	    splice->sides[1].over) {
		splice->ended = true;
		splice->on_end(splice->data, splice->err.code ? &splice->err : NULL);
	}
	if (--splice->calls == 0 && splice->freed)
		free(splice);
}

static void note(struct kiln__splice *splice, const kiln_error *err)
{
	if (splice->err.code == 0)
		splice->err = *err;
}

/* The other side takes no more: what comes is dropped from here on, to see the end of it. */
static void refuse(struct side *from, ssize_t code)
{
	kiln_error err;

	kiln__fail(&err, (int)code, "the other side takes no more data");
	note(from->splice, &err);
	from->other->refuses = true;
	/* It sends no more either: then there is nothing left to join. */
	if (from->other->over)
		from->over = true;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct side *from = data;
	struct kiln__splice *splice = from->splice;
	size_t taken = len;
	ssize_t n;

	if (splice->ended || splice->freed)
		return 0;
	enter(splice);
	if (!from->other->refuses) {
		n = kiln__stream_write(from->other->stream, bytes, len);
		if (n < 0)
			refuse(from, n);
		else
			taken = (size_t)n;
	}
	leave(splice);
	return taken;
}

static void on_eof(void *data)
{
	struct side *from = data;
	struct kiln__splice *splice = from->splice;

	if (splice->ended || splice->freed)
		return;
	enter(splice);
	from->over = true;
	if (from->refuses)
		from->other->over = true;
	else if (!from->other->refuses)
		kiln__stream_shutdown(from->other->stream);
	leave(splice);
}

static void on_writable(void *data)
{
	struct side *to = data;
	struct kiln__splice *splice = to->splice;

	if (splice->ended || splice->freed)
		return;
	enter(splice);
	if (!to->other->over)
		kiln__stream_resume(to->other->stream);
	leave(splice);
}

/* A stream that broke neither sends nor takes: with it ends the splice. */
static void on_error(void *data, const kiln_error *err)
{
	struct side *side = data;
	struct kiln__splice *splice = side->splice;

	if (splice->ended || splice->freed)
		return;
	enter(splice);
	note(splice, err);
	side->over = true;
	side->other->over = true;
	leave(splice);
}

static const struct kiln__stream_handler handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_writable = on_writable,
	.on_error = on_error,
};

int kiln__splice_new(struct kiln__splice **ret, struct kiln__stream *a, struct kiln__stream *b,
		     void (*on_end)(void *data, const kiln_error *err), void *data, kiln_error *err)
{
	struct kiln__splice *splice = calloc(1, sizeof(*splice));

	if (!splice)
		return kiln__fail_nomem(err);
	splice->on_end = on_end;
	splice->data = data;
	splice->sides[0] = (struct side){splice, &splice->sides[1], a, false, false};
	splice->sides[1] = (struct side){splice, &splice->sides[0], b, false, false};
	kiln__stream_set_handler(a, &handler, &splice->sides[0]);
	kiln__stream_set_handler(b, &handler, &splice->sides[1]);
	*ret = splice;
	enter(splice);
	kiln__stream_resume(a);
	if (!splice->freed && !splice->ended)
		kiln__stream_resume(b);
	leave(splice);
	return 0;
}

void kiln__splice_free(struct kiln__splice *splice)
{
	if (!splice || splice->freed)
		return;
	splice->freed = true;
	splice->ended = true;
	kiln__stream_close(splice->sides[0].stream);
	kiln__stream_close(splice->sides[1].stream);
	if (splice->calls == 0)
		free(splice);
}
