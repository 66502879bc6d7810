/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream over a descriptor. Data is read into a buffer only when the handler
 * wants it, and at most one buffer ahead; written straight to the descriptor,
 * with no queue of its own: what the kernel does not take stays with the caller.
 * The read buffer exists only while something in it waits to be consumed.
 */
#include "fdstream.h"

#include "err.h"
#include "os.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)64 * 1024)

struct fdstream {
	struct kiln__stream stream;
	kiln_loop *loop;
	kiln_fd fd;
	struct kiln__watch *watch; /* NULL: not watched yet */
	char *held;                /* read but not yet consumed: held[held_at..held_len) */
	size_t held_at;
	size_t held_len;
	bool paused;
	bool offering; /* on_data is on the stack: a resume is noted in "again" */
	bool again;
	bool eof; /* the peer closed its side, and the handler knows */
	bool want_write;
	bool broken;
	bool is_socket;
	unsigned calls; /* handler calls on the stack */
	bool closed;    /* close was called from a handler */
};

static void update(struct fdstream *s)
{
	int events = 0;

	if (!s->watch)
		return;
	if (s->broken || s->closed) {
		kiln__watch_set(s->watch, 0);
		return;
	}
	if (!s->paused && !s->eof)
		events |= KILN__READABLE;
	if (s->want_write)
		events |= KILN__WRITABLE;
	kiln__watch_set(s->watch, events);
}

static void release(struct fdstream *s)
{
	kiln__watch_free(s->watch);
	kiln__os_close(s->fd);
	free(s->held);
	free(s);
}

/* Ends a handler call; false if the stream was closed meanwhile and is gone. */
static bool leave(struct fdstream *s)
{
	if (--s->calls == 0 && s->closed) {
		release(s);
		return false;
	}
	return !s->closed;
}

static void report_error(struct fdstream *s, int os_errno)
{
	kiln_error err;

	s->broken = true;
	update(s);
	kiln__fail_errno(&err, os_errno, "connection lost");
	s->calls++;
	s->stream.handler->on_error(s->stream.handler_data, &err);
	leave(s);
}

/*
 * Gives bytes to the handler until it wants no more. Returns how many it took, or -1
 * if the stream is gone. One that resumes from inside is asked again after the call,
 * not within it: what it has just been shown is not consumed before it returns.
 */
static ssize_t offer(struct fdstream *s, const char *bytes, size_t len)
{
	size_t done = 0;

	while (!s->paused && done < len) {
		s->again = false;
		s->offering = true;
		s->calls++;
		done += s->stream.handler->on_data(s->stream.handler_data, bytes + done,
						   len - done);
		s->offering = false;
		if (!leave(s))
			return -1;
		s->paused = done < len && !s->again;
	}
	return (ssize_t)done;
}

/* Offers what was held back. Returns false if the stream is gone. */
static bool offer_held(struct fdstream *s)
{
	ssize_t n = offer(s, s->held + s->held_at, s->held_len - s->held_at);

	if (n < 0)
		return false;
	s->held_at += (size_t)n;
	if (s->held_at == s->held_len) {
		free(s->held);
		s->held = NULL;
		s->held_at = s->held_len = 0;
	}
	return true;
}

static bool deliver(struct fdstream *s, const char *bytes, size_t len)
{
	ssize_t n = offer(s, bytes, len);
	size_t left;

	if (n < 0)
		return false;
	left = len - (size_t)n;
	if (left == 0)
		return true;
	s->held = malloc(left);
	if (!s->held) {
		report_error(s, ENOMEM);
		return false;
	}
	memcpy(s->held, bytes + n, left);
	s->held_len = left;
	return true;
}

static void on_readable(struct fdstream *s)
{
	char chunk[CHUNK];
	ssize_t n = kiln__os_read(s->fd, chunk, sizeof(chunk));

	if (n > 0) {
		if (deliver(s, chunk, (size_t)n))
			update(s);
		return;
	}
	if (n < 0) {
		int code = (int)-n;

		if (code == EAGAIN)
			return;
		/* A pty master answers EIO when its last slave is closed: an end like any other. */
		if (code != EIO || s->is_socket) {
			report_error(s, code);
			return;
		}
	}
	s->eof = true;
	update(s);
	s->calls++;
	if (s->stream.handler->on_eof)
		s->stream.handler->on_eof(s->stream.handler_data);
	leave(s);
}

static void on_event(void *data, int events)
{
	struct fdstream *s = data;

	if (events & KILN__WRITABLE) {
		s->want_write = false;
		update(s);
		s->calls++;
		if (s->stream.handler->on_writable)
			s->stream.handler->on_writable(s->stream.handler_data);
		if (!leave(s))
			return;
	}
	if ((events & KILN__READABLE) && !s->paused && !s->eof && !s->broken)
		on_readable(s);
}

static ssize_t fdstream_write(struct kiln__stream *stream, const void *bytes, size_t len)
{
	struct fdstream *s = (struct fdstream *)stream;
	size_t done = 0;

	if (s->broken)
		return KILN_EIO;
	while (done < len) {
		ssize_t n = kiln__os_write(s->fd, (const char *)bytes + done, len - done);

		if (n < 0) {
			if (n != -EAGAIN)
				return kiln__code_of_errno((int)-n);
			s->want_write = true;
			update(s);
			break;
		}
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void fdstream_shutdown(struct kiln__stream *stream)
{
	struct fdstream *s = (struct fdstream *)stream;

	if (s->is_socket)
		kiln__os_shutdown_write(s->fd);
}

static void fdstream_resume(struct kiln__stream *stream)
{
	struct fdstream *s = (struct fdstream *)stream;

	s->again = true;
	if (s->offering)
		return;
	s->paused = false;
	if (!s->held || offer_held(s))
		update(s);
}

static void fdstream_close(struct kiln__stream *stream)
{
	struct fdstream *s = (struct fdstream *)stream;

	s->closed = true;
	if (s->calls)
		update(s);
	else
		release(s);
}

static const struct kiln__stream_ops fdstream_ops = {
	.write = fdstream_write,
	.shutdown = fdstream_shutdown,
	.resume = fdstream_resume,
	.close = fdstream_close,
};

static struct fdstream *new_stream(kiln_loop *loop, kiln_fd fd, kiln_error *err)
{
	struct fdstream *s = calloc(1, sizeof(*s));

	if (!s) {
		kiln__fail_nomem(err);
		return NULL;
	}
	s->stream.ops = &fdstream_ops;
	s->loop = loop;
	s->fd = fd;
	s->paused = true;
	return s;
}

int kiln__fdstream_new(struct kiln__stream **ret, kiln_loop *loop, kiln_fd fd, kiln_error *err)
{
	struct fdstream *s = new_stream(loop, fd, err);
	int r;

	if (!s)
		return KILN_ENOMEM;
	s->is_socket = kiln__os_is_socket(fd);
	r = kiln__os_set_nonblocking(fd, true, err);
	if (r == 0)
		r = kiln__watch_new(&s->watch, loop, fd, on_event, s, err);
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = &s->stream;
	return 0;
}

int kiln__fdstream_new_unwatched(struct kiln__stream **ret, kiln_loop *loop, kiln_fd fd,
				 kiln_error *err)
{
	struct fdstream *s = new_stream(loop, fd, err);

	if (!s)
		return KILN_ENOMEM;
	s->is_socket = true;
	*ret = &s->stream;
	return 0;
}

void kiln__fdstream_read_first(struct kiln__stream *stream)
{
	struct fdstream *s = (struct fdstream *)stream;

	if (!s->paused)
		on_readable(s);
}

void kiln__fdstream_watch(struct kiln__stream *stream)
{
	struct fdstream *s = (struct fdstream *)stream;

	/* The watch makes it non-blocking. */
	if (kiln__watch_new(&s->watch, s->loop, s->fd, on_event, s, NULL) < 0)
		report_error(s, ENOMEM);
	else
		update(s);
}
