/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output is handed on as it comes, acknowledged when it was consumed; what the
 * handler does not take of a frame is kept here (at most one frame), and the stream
 * is not read meanwhile: the guest's window and vsock's credit hold back the rest.
 * Input is kept in a window until the guest acknowledges it, so that it can be sent
 * again on another connection.
 */
#include "session.h"

#include "agent.h"
#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "frame.h"
#include "os.h"
#include "window.h"

#include <stdlib.h>
#include <string.h>

struct output {
	uint64_t at;    /* offset of the next byte to deliver */
	uint64_t acked; /* offset last acknowledged */
};

struct kiln__session {
	kiln_loop *loop;
	struct kiln__stream *stream;
	struct kiln__deferred *breaking; /* reports a connection lost while writing */
	const struct kiln__session_handler *handler;
	void *data;
	struct kiln__frame_reader reader;
	struct kiln__buf start; /* the START frame, until it is known to have been heard */
	struct kiln__buf out;   /* frames that the stream did not take yet */
	struct kiln__buf held;  /* output that the handler did not take yet */
	int held_stream;
	struct output output[2];
	struct kiln__window input;
	uint64_t input_sent;  /* offset of the next input byte to send */
	uint64_t input_limit; /* the guest takes input up to here */
	size_t input_window;
	uint64_t id;
	bool hello;
	bool input_placed; /* the offset at which its input begins is known */
	bool started;      /* and the handler knows */
	bool attached;     /* STARTED has come on this connection */
	bool input_end;    /* the user has ended it */
	bool input_end_sent;
	bool input_closed; /* the process does not read */
	bool input_short;  /* writable() is due */
	bool mute;         /* nothing can be sent on this connection any more */
	bool over;         /* exited, or refused */
	unsigned busy;     /* calls on the stack that still use it */
	bool freed;
};

static void release(struct kiln__session *s)
{
	kiln__stream_close(s->stream);
	kiln__deferred_free(s->breaking);
	kiln__frame_reader_done(&s->reader);
	kiln__buf_done(&s->start);
	kiln__buf_done(&s->out);
	kiln__buf_done(&s->held);
	kiln__window_done(&s->input);
	free(s);
}

static bool leave(struct kiln__session *s)
{
	if (--s->busy == 0 && s->freed) {
		release(s);
		return false;
	}
	return !s->freed;
}

void kiln__session_free(struct kiln__session *s)
{
	if (!s)
		return;
	s->freed = true;
	if (s->busy == 0)
		release(s);
}

static void drop_connection(struct kiln__session *s)
{
	kiln__stream_close(s->stream);
	s->stream = NULL;
	kiln__buf_done(&s->out);
	kiln__frame_reader_done(&s->reader);
	s->attached = false;
}

/* The guest refused, or cannot be understood: this session is over. Called with the session busy.
 */
static void fail(struct kiln__session *s, const kiln_error *err)
{
	if (s->over || !s->stream || s->freed)
		return;
	drop_connection(s);
	s->over = true;
	s->handler->failed(s->data, err, false);
}

/* The connection is gone; the session may be taken up on another. Called with the session busy. */
static void lose(struct kiln__session *s, const kiln_error *err)
{
	if (s->over || !s->stream || s->freed)
		return;
	drop_connection(s);
	s->handler->failed(s->data, err, true);
}

static void on_breaking(void *data)
{
	struct kiln__session *s = data;
	kiln_error err;

	kiln__fail(&err, KILN_EIO, "the connection to the guest's agent is lost");
	s->busy++;
	lose(s, &err);
	leave(s);
}

/* --- sending --------------------------------------------------------------------- */

static void flush(struct kiln__session *s)
{
	ssize_t n;

	if (!s->stream || (!s->out.len && !s->out.failed))
		return;
	if (s->out.failed) {
		kiln__deferred_schedule(s->breaking);
		return;
	}
	/*
	 * The other side may have left after its last words, which are still to be read: only
	 * reading tells that the connection is lost.
	 */
	n = s->mute ? (ssize_t)s->out.len : kiln__stream_write(s->stream, s->out.data, s->out.len);
	if (n < 0) {
		s->mute = true;
		n = (ssize_t)s->out.len;
	}
	kiln__buf_drop(&s->out, (size_t)n);
}

static void send_frame(struct kiln__session *s, uint8_t type, uint16_t tag,
		       const struct kiln__record *record, const void *value)
{
	if (!s->stream)
		return;
	kiln__frame_pack(&s->out, type, 0, tag, record, value);
	flush(s);
}

static void send_input_frame(struct kiln__session *s, const uint8_t *bytes, size_t len, bool end)
{
	uint8_t head[KILN__FRAME_DATA_HEAD];

	kiln__frame_data_head(head, KILN__AGENT_STDIN, end ? KILN__FRAME_END : 0, s->input_sent,
			      len);
	kiln__buf_add(&s->out, head, sizeof(head));
	kiln__buf_add(&s->out, bytes, len);
	s->input_sent += len;
	s->input_end_sent = end;
	flush(s);
}

/* Sends what input there is and the guest has room for, one frame in the buffer at a time. */
static void pump_input(struct kiln__session *s)
{
	while (s->attached && !s->mute && s->out.len == 0 && !s->input_end_sent &&
	       !s->input_closed) {
		const uint8_t *bytes = NULL;
		size_t len = kiln__window_at(&s->input, s->input_sent, &bytes);
		bool end;

		if (len > KILN__FRAME_MAX_DATA)
			len = KILN__FRAME_MAX_DATA;
		if (len > s->input_limit - s->input_sent)
			len = (size_t)(s->input_limit - s->input_sent);
		end = s->input_end && s->input_sent + len == s->input.end;
		if (len == 0 && !end)
			return;
		send_input_frame(s, bytes, len, end);
	}
}

static void acknowledge(struct kiln__session *s, bool now)
{
	struct kiln__agent_ack ack = {s->output[0].at, s->output[1].at};
	uint64_t behind =
		s->output[0].at - s->output[0].acked + s->output[1].at - s->output[1].acked;

	if (!s->attached || behind == 0 || (!now && behind < KILN__AGENT_OUTPUT_WINDOW / 4))
		return;
	s->output[0].acked = s->output[0].at;
	s->output[1].acked = s->output[1].at;
	send_frame(s, KILN__AGENT_ACK, 0, &kiln__agent_ack_record, &ack);
}

/* --- frames in ----------------------------------------------------------------------- */

static int on_hello(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	const struct kiln__agent_hello own = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};
	struct kiln__agent_hello hello;
	int r;

	if (frame->type == KILN__AGENT_ERROR)
		return 0;
	if (frame->type != KILN__AGENT_HELLO)
		return kiln__fail(err, KILN_EPROTO, "the guest's agent did not say hello");
	r = kiln__record_unpack(&kiln__agent_hello_record, frame->body, frame->len, &hello, err);
	if (r < 0)
		return r;
	if (!kiln__agent_agree(&own, &hello))
		return kiln__fail(err, KILN_ENOTSUP,
				  "the guest's agent speaks protocol %#x to %#x, kiln %#x to %#x",
				  hello.version_min, hello.version_max, own.version_min,
				  own.version_max);
	s->hello = true;
	return 1;
}

static int on_error_frame(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_error error;
	kiln_error why = KILN_ERROR_INIT;
	int r = kiln__record_unpack(&kiln__agent_error_record, frame->body, frame->len, &error,
				    err);

	if (r < 0)
		return r;
	kiln__agent_error_to(&error, &why);
	fail(s, &why);
	return 0;
}

/* The guest has taken input: sends more of it, and asks for more. */
static void offer_room(struct kiln__session *s)
{
	pump_input(s);
	if (s->input_short && kiln__window_room(&s->input) && s->handler->writable) {
		s->input_short = false;
		s->handler->writable(s->data);
	}
}

static int on_started(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_started started;
	int r = kiln__record_unpack(&kiln__agent_started_record, frame->body, frame->len, &started,
				    err);

	if (r < 0)
		return r;
	if (!s->input_placed) /* and nothing was written yet: see kiln__session_write() */
		s->input.start = s->input.end = started.stdin_at;
	s->input_placed = true;
	/* Input that the process does not read was dropped here, and is not counted there. */
	if (started.id != s->id ||
	    (!s->input_closed && !kiln__window_holds(&s->input, started.stdin_at)))
		return kiln__fail(err, KILN_EPROTO,
				  "the guest's agent answered for another session");
	if (!s->input_closed) {
		kiln__window_drop(&s->input, started.stdin_at);
		s->input_sent = started.stdin_at;
	}
	kiln__buf_done(&s->start);
	s->input_window = (size_t)started.stdin_window;
	s->input_limit = started.stdin_taken + started.stdin_window;
	s->input_end_sent = false;
	s->attached = true;
	if (!s->started) {
		s->started = true;
		s->handler->started(s->data, started.pid);
	}
	if (!s->freed)
		offer_room(s);
	return 0;
}

static int on_stdin_ack(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_stdin_ack ack;
	int r = kiln__record_unpack(&kiln__agent_stdin_ack_record, frame->body, frame->len, &ack,
				    err);

	if (r < 0)
		return r;
	if (ack.closed) {
		s->input_closed = true;
		kiln__window_drop(&s->input, s->input.end);
		s->input_sent = s->input.end;
	} else {
		if (ack.stdin_at > s->input_sent)
			return kiln__fail(err, KILN_EPROTO,
					  "the guest's agent acknowledged input that was not sent");
		/* What it had received when it was taken up again is dropped already. */
		if (ack.stdin_at > s->input.start)
			kiln__window_drop(&s->input, ack.stdin_at);
		s->input_limit = ack.stdin_at + s->input_window;
	}
	offer_room(s);
	return 0;
}

/* Delivers bytes; keeps what was not taken. Returns whether all was. */
static bool deliver(struct kiln__session *s, int stream, const uint8_t *bytes, size_t len)
{
	struct output *out = &s->output[stream - 1];
	size_t n = len ? s->handler->output(s->data, stream, bytes, len) : 0;

	out->at += n;
	if (s->freed)
		return false;
	acknowledge(s, false);
	if (n == len)
		return true;
	s->held_stream = stream;
	kiln__buf_clear(&s->held);
	kiln__buf_add(&s->held, bytes + n, len - n);
	if (s->held.failed)
		kiln__deferred_schedule(s->breaking);
	return false;
}

static int on_output(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	int stream = frame->type == KILN__AGENT_STDOUT ? 1 : 2;
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;
	int r = kiln__frame_data(frame, &offset, &bytes, &len, err);

	if (r < 0)
		return r;
	if (offset != s->output[stream - 1].at)
		return kiln__fail(err, KILN_EPROTO, "output came at offset %llu instead of %llu",
				  (unsigned long long)offset,
				  (unsigned long long)s->output[stream - 1].at);
	deliver(s, stream, bytes, len);
	return 0;
}

static int on_exit_frame(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_exit how;
	int r = kiln__record_unpack(&kiln__agent_exit_record, frame->body, frame->len, &how, err);

	if (r < 0)
		return r;
	s->over = true;
	acknowledge(s, true);
	send_frame(s, KILN__AGENT_DONE, 0, NULL, NULL);
	s->handler->exited(s->data, &how);
	return 0;
}

static int on_frame(struct kiln__session *s, const struct kiln__frame *frame, kiln_error *err)
{
	if (!s->hello) {
		int r = on_hello(s, frame, err);

		if (r != 0)
			return r < 0 ? r : 0;
	}
	switch (frame->type) {
	case KILN__AGENT_ERROR:
		return on_error_frame(s, frame, err);
	case KILN__AGENT_STARTED:
		return on_started(s, frame, err);
	case KILN__AGENT_STDOUT:
	case KILN__AGENT_STDERR:
		return on_output(s, frame, err);
	case KILN__AGENT_STDIN_ACK:
		return on_stdin_ack(s, frame, err);
	case KILN__AGENT_EXIT:
		return on_exit_frame(s, frame, err);
	default:
		if (frame->flags & KILN__FRAME_OPTIONAL)
			return 0;
		return kiln__fail(err, KILN_EPROTO, "the guest's agent sent a frame of type %u",
				  frame->type);
	}
}

/* --- the stream ---------------------------------------------------------------------------- */

static bool may_read(const struct kiln__session *s)
{
	return !s->freed && !s->over && s->stream && s->held.len == 0;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct kiln__session *s = data;
	const uint8_t *at = bytes;
	size_t done = 0;
	struct kiln__frame frame;
	kiln_error err;
	bool whole;

	s->busy++;
	while (done < len && may_read(s)) {
		int64_t n =
			kiln__frame_read(&s->reader, at + done, len - done, &frame, &whole, &err);

		if (n >= 0)
			done += (size_t)n;
		if (n < 0 || (whole && on_frame(s, &frame, &err) < 0)) {
			fail(s, &err);
			break;
		}
	}
	if (s->over || !s->stream)
		done = len;
	leave(s);
	return done;
}

static void on_eof(void *data)
{
	on_breaking(data);
}

static void on_writable(void *data)
{
	struct kiln__session *s = data;

	flush(s);
	pump_input(s);
}

static void on_error(void *data, const kiln_error *err)
{
	struct kiln__session *s = data;

	s->busy++;
	lose(s, err);
	leave(s);
}

static const struct kiln__stream_handler stream_handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_writable = on_writable,
	.on_error = on_error,
};

/* --- making ---------------------------------------------------------------------------------- */

static int session_new(struct kiln__session **ret, kiln_loop *loop,
		       const struct kiln__session_handler *handler, void *data, kiln_error *err)
{
	struct kiln__session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return kiln__fail_nomem(err);
	s->loop = loop;
	s->handler = handler;
	s->data = data;
	kiln__window_init(&s->input, KILN__AGENT_STDIN_WINDOW);
	r = kiln__deferred_new(&s->breaking, loop, on_breaking, s, err);
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/*
 * Says hello and makes the first request, a whole frame, on a connection, in one write.
 * Its failure leaves all as it was; *@ret (if not NULL) is set before a handler is called.
 */
static int connect_to(struct kiln__session *s, struct kiln__session **ret,
		      struct kiln__stream *stream, const struct kiln__buf *request, kiln_error *err)
{
	const struct kiln__agent_hello hello = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};

	kiln__frame_reader_init(&s->reader, kiln__agent_limit);
	kiln__frame_pack(&s->out, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
	kiln__buf_add(&s->out, request->data, request->len);
	if (s->out.failed || request->failed) {
		kiln__buf_done(&s->out);
		return kiln__fail_nomem(err);
	}
	if (ret)
		*ret = s;
	s->hello = s->mute = false;
	s->stream = stream;
	kiln__stream_set_handler(stream, &stream_handler, s);
	flush(s);
	s->busy++;
	kiln__stream_resume(stream);
	leave(s);
	return 0;
}

static int attach(struct kiln__session *s, struct kiln__session **ret, struct kiln__stream *stream,
		  const struct kiln__agent_attach *at, kiln_error *err)
{
	kiln__autobuf request = KILN__BUF_INIT;

	kiln__frame_pack(&request, KILN__AGENT_ATTACH, 0, 1, &kiln__agent_attach_record, at);
	return connect_to(s, ret, stream, &request, err);
}

int kiln__session_start(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
			const struct kiln__agent_start *start,
			const struct kiln__session_handler *handler, void *data, kiln_error *err)
{
	struct kiln__agent_start own = *start;
	struct kiln__session *s;
	int r = session_new(&s, loop, handler, data, err);

	if (r < 0)
		return r;
	while (own.id == 0)
		kiln__os_random(&own.id, sizeof(own.id));
	s->id = own.id;
	s->input_placed = true;
	kiln__frame_pack(&s->start, KILN__AGENT_START, 0, 1, &kiln__agent_start_record, &own);
	if (!s->start.failed &&
	    s->start.len > KILN__FRAME_HEADER + kiln__agent_limit(KILN__AGENT_START)) {
		kiln__session_free(s);
		return kiln__fail(err, KILN_EOVERFLOW,
				  "the command and its environment are longer than %zu bytes",
				  kiln__agent_limit(KILN__AGENT_START));
	}
	r = connect_to(s, ret, stream, &s->start, err);
	if (r < 0)
		kiln__session_free(s);
	return r;
}

int kiln__session_attach(struct kiln__session **ret, kiln_loop *loop, struct kiln__stream *stream,
			 const struct kiln__agent_attach *at,
			 const struct kiln__session_handler *handler, void *data, kiln_error *err)
{
	struct kiln__session *s;
	int r = session_new(&s, loop, handler, data, err);

	if (r < 0)
		return r;
	s->id = at->id;
	s->output[0].at = s->output[0].acked = at->stdout_at;
	s->output[1].at = s->output[1].acked = at->stderr_at;
	r = attach(s, ret, stream, at, err);
	if (r < 0)
		kiln__session_free(s);
	return r;
}

int kiln__session_reattach(struct kiln__session *s, struct kiln__stream *stream, kiln_error *err)
{
	/* What is held has been received, and is delivered from here. */
	const struct kiln__agent_attach at = {
		.id = s->id,
		.stdout_at = s->output[0].at + (s->held_stream == 1 ? s->held.len : 0),
		.stderr_at = s->output[1].at + (s->held_stream == 2 ? s->held.len : 0),
	};

	if (s->over || s->stream)
		return kiln__fail(err, KILN_ESTATE, "the session has not lost its connection");
	/* The agent starts nothing twice of one id, so it can be asked again. */
	if (s->start.len)
		return connect_to(s, NULL, stream, &s->start, err);
	return attach(s, NULL, stream, &at, err);
}

/* --- using --------------------------------------------------------------------------- */

uint64_t kiln__session_id(const struct kiln__session *s)
{
	return s->id;
}

size_t kiln__session_write(struct kiln__session *s, const void *bytes, size_t len)
{
	int64_t n;

	if (s->input_closed || s->input_end || s->over)
		return len;
	if (!s->input_placed) {
		s->input_short = true;
		return 0;
	}
	n = kiln__window_put(&s->input, bytes, len);
	if (n < 0)
		n = 0;
	s->input_short = (size_t)n < len;
	pump_input(s);
	return (size_t)n;
}

void kiln__session_end_input(struct kiln__session *s)
{
	s->input_end = true;
	pump_input(s);
}

bool kiln__session_input_closed(const struct kiln__session *s)
{
	return s->input_closed;
}

void kiln__session_resize(struct kiln__session *s, uint32_t rows, uint32_t cols)
{
	const struct kiln__agent_resize size = {rows, cols};

	send_frame(s, KILN__AGENT_RESIZE, 0, &kiln__agent_resize_record, &size);
}

void kiln__session_signal(struct kiln__session *s, uint32_t number, bool group)
{
	const struct kiln__agent_signal signal = {.number = number, .group = group};

	send_frame(s, KILN__AGENT_SIGNAL, 0, &kiln__agent_signal_record, &signal);
}

void kiln__session_resume(struct kiln__session *s)
{
	s->busy++;
	if (s->held.len) {
		struct kiln__buf held = s->held;

		s->held = (struct kiln__buf)KILN__BUF_INIT;
		deliver(s, s->held_stream, (const uint8_t *)held.data, held.len);
		kiln__buf_done(&held);
	}
	if (may_read(s))
		kiln__stream_resume(s->stream);
	leave(s);
}
