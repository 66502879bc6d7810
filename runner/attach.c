/* SPDX-License-Identifier: Apache-2.0 */
#include "attach.h"

#include "buf.h"
#include "err.h"
#include "frame.h"

#include <stdlib.h>
#include <string.h>

/*
 * With this much unsent the process's output is not read, nor what the client says: it
 * holds back both.
 */
#define OUT_ENOUGH KILN__AGENT_OUTPUT_WINDOW

struct attached {
	struct kiln__stream *stream;
	struct kiln__deferred *leaving;
	const struct attached_handler *handler;
	void *data;
	struct kiln__frame_reader reader;
	struct kiln__buf out;
	struct kiln__buf held; /* input that the process did not take yet */
	bool held_end;
	uint64_t output_at[2]; /* offset of the next output byte, as the client counts */
	uint64_t input_at;
	uint64_t input_acked;
	uint64_t session_id;
	uint32_t pid;
	uint16_t tag; /* of the client's request */
	bool with_stdin;
	bool hello;
	bool asked;   /* its ATTACH has come */
	bool started; /* the process runs */
	bool answered;
	bool ended; /* told the end: nothing more is sent */
	struct kiln__agent_exit how;
	kiln_error why;
	bool exited;
	bool failed;
};

static void on_leaving(void *data)
{
	struct attached *c = data;

	c->handler->gone(c->data, c);
}

static void flush(struct attached *c)
{
	ssize_t n;

	if (!c->out.len && !c->out.failed)
		return;
	n = c->out.failed ? KILN_ENOMEM : kiln__stream_write(c->stream, c->out.data, c->out.len);
	if (n < 0)
		kiln__deferred_schedule(c->leaving);
	else
		kiln__buf_drop(&c->out, (size_t)n);
}

static void send_record(struct attached *c, uint8_t type, uint16_t tag,
			const struct kiln__record *record, const void *value)
{
	kiln__frame_pack(&c->out, type, 0, tag, record, value);
	flush(c);
}

static void send_end(struct attached *c)
{
	struct kiln__agent_error error = {
		.code = (uint32_t)-c->why.code,
		.stage = c->why.stage[0] ? c->why.stage : NULL,
		.message = c->why.message,
	};

	if (c->ended || !c->asked)
		return;
	if (c->failed) {
		send_record(c, KILN__AGENT_ERROR, c->answered ? 0 : c->tag,
			    &kiln__agent_error_record, &error);
		c->ended = true;
	} else if (c->exited && c->answered) {
		c->how.stdout_end = c->output_at[0];
		c->how.stderr_end = c->output_at[1];
		send_record(c, KILN__AGENT_EXIT, 0, &kiln__agent_exit_record, &c->how);
		c->ended = true;
	}
}

static void answer(struct attached *c)
{
	const struct kiln__agent_started started = {
		.id = c->session_id,
		.pid = c->pid,
		.stdin_at = 0,
		.stdin_window = KILN__AGENT_STDIN_WINDOW,
		.output_window = KILN__AGENT_OUTPUT_WINDOW,
	};

	if (c->asked && c->started && !c->answered) {
		const struct kiln__agent_stdin_ack closed = {.closed = true};

		c->answered = true;
		send_record(c, KILN__AGENT_STARTED, c->tag, &kiln__agent_started_record, &started);
		if (!c->with_stdin)
			send_record(c, KILN__AGENT_STDIN_ACK, 0, &kiln__agent_stdin_ack_record,
				    &closed);
	}
	send_end(c);
}

/* --- frames in -------------------------------------------------------------------- */

/* By the quarter of a window, as the guest does it: byte by byte they would be longer than the
 * input. */
static void acknowledge_input(struct attached *c)
{
	const struct kiln__agent_stdin_ack ack = {.stdin_at = c->input_at};

	if (c->input_at - c->input_acked < KILN__AGENT_STDIN_WINDOW / 4)
		return;
	c->input_acked = c->input_at;
	send_record(c, KILN__AGENT_STDIN_ACK, 0, &kiln__agent_stdin_ack_record, &ack);
}

/* Gives the process what is held; before it runs, all of it waits. */
static void pump_input(struct attached *c)
{
	size_t n;

	if (!c->started && !c->exited && !c->failed)
		return;
	n = c->held.len ? c->handler->input(c->data, c->held.data, c->held.len) : 0;
	kiln__buf_drop(&c->held, n);
	c->input_at += n;
	acknowledge_input(c);
	if (c->held.len == 0 && c->held_end) {
		c->held_end = false;
		c->handler->input_end(c->data);
	}
}

static int on_stdin(struct attached *c, const struct kiln__frame *frame, kiln_error *err)
{
	const uint8_t *bytes;
	uint64_t offset;
	size_t len;
	int r = kiln__frame_data(frame, &offset, &bytes, &len, err);

	if (r < 0)
		return r;
	if (!c->with_stdin)
		return 0;
	if (offset != c->input_at + c->held.len || c->held.len + len > KILN__AGENT_STDIN_WINDOW)
		return kiln__fail(err, KILN_EPROTO, "input out of order or beyond its window");
	kiln__buf_add(&c->held, bytes, len);
	c->held_end |= (frame->flags & KILN__FRAME_END) != 0;
	if (c->held.failed)
		return kiln__fail_nomem(err);
	pump_input(c);
	return 0;
}

static int on_attach(struct attached *c, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_attach attach;
	int r = kiln__record_unpack(&kiln__agent_attach_record, frame->body, frame->len, &attach,
				    err);

	if (r < 0)
		return r;
	if (c->asked)
		return kiln__fail(err, KILN_EPROTO, "attached already");
	c->asked = true;
	c->tag = frame->tag;
	c->session_id = attach.id;
	c->output_at[0] = attach.stdout_at;
	c->output_at[1] = attach.stderr_at;
	answer(c);
	c->handler->asked(c->data);
	return 0;
}

static int on_resize(struct attached *c, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_resize size;
	int r = kiln__record_unpack(&kiln__agent_resize_record, frame->body, frame->len, &size,
				    err);

	if (r == 0)
		c->handler->resize(c->data, size.rows, size.cols);
	return r;
}

static int on_signal(struct attached *c, const struct kiln__frame *frame, kiln_error *err)
{
	struct kiln__agent_signal signal;
	int r = kiln__record_unpack(&kiln__agent_signal_record, frame->body, frame->len, &signal,
				    err);

	if (r == 0 && (signal.number < 1 || signal.number > 64))
		r = kiln__fail(err, KILN_EPROTO, "there is no signal %u", signal.number);
	if (r == 0)
		c->handler->signal(c->data, signal.number, signal.group);
	return r;
}

static int on_frame(struct attached *c, const struct kiln__frame *frame, kiln_error *err)
{
	if (!c->hello) {
		if (frame->type != KILN__AGENT_HELLO)
			return kiln__fail(err, KILN_EPROTO, "no hello");
		c->hello = true;
		return 0;
	}
	switch (frame->type) {
	case KILN__AGENT_ATTACH:
		return on_attach(c, frame, err);
	case KILN__AGENT_STDIN:
		return on_stdin(c, frame, err);
	case KILN__AGENT_RESIZE:
		return on_resize(c, frame, err);
	case KILN__AGENT_SIGNAL:
		return on_signal(c, frame, err);
	case KILN__AGENT_ACK: /* the connection is reliable; its own buffer is the window */
		return 0;
	case KILN__AGENT_DONE:
		kiln__deferred_schedule(c->leaving);
		return 0;
	default:
		if (frame->flags & KILN__FRAME_OPTIONAL)
			return 0;
		return kiln__fail(err, KILN_EPROTO, "unexpected frame of type %u", frame->type);
	}
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct attached *c = data;
	const uint8_t *at = bytes;
	size_t done = 0;
	struct kiln__frame frame;
	kiln_error err;
	bool whole;

	while (done < len && attached_has_room(c)) {
		int64_t n =
			kiln__frame_read(&c->reader, at + done, len - done, &frame, &whole, &err);

		if (n < 0 || (whole && on_frame(c, &frame, &err) < 0)) {
			kiln__deferred_schedule(c->leaving);
			return len;
		}
		done += (size_t)n;
	}
	return done;
}

static void on_eof(void *data)
{
	struct attached *c = data;

	kiln__deferred_schedule(c->leaving);
}

static void on_writable(void *data)
{
	struct attached *c = data;
	bool had_room = attached_has_room(c);

	flush(c);
	if (!had_room && attached_has_room(c)) {
		kiln__stream_resume(c->stream);
		c->handler->drained(c->data);
	} else if (c->ended && c->out.len == 0) {
		c->handler->drained(c->data);
	}
}

static void on_error(void *data, const kiln_error *err)
{
	(void)err;
	on_eof(data);
}

static const struct kiln__stream_handler stream_handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_writable = on_writable,
	.on_error = on_error,
};

/* --- for process.c ------------------------------------------------------------------- */

int attached_new(struct attached **ret, kiln_loop *loop, struct kiln__stream *stream,
		 bool with_stdin, const struct attached_handler *handler, void *data,
		 kiln_error *err)
{
	const struct kiln__agent_hello hello = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
		.agent = KILN_VERSION,
	};
	struct attached *c = calloc(1, sizeof(*c));
	int r = c ? 0 : kiln__fail_nomem(err);

	if (r == 0)
		r = kiln__deferred_new(&c->leaving, loop, on_leaving, c, err);
	if (r < 0) {
		kiln__stream_close(stream);
		free(c);
		return r;
	}
	c->stream = stream;
	c->with_stdin = with_stdin;
	c->handler = handler;
	c->data = data;
	kiln__frame_reader_init(&c->reader, kiln__agent_limit);
	kiln__stream_set_handler(stream, &stream_handler, c);
	*ret = c;
	send_record(c, KILN__AGENT_HELLO, 0, &kiln__agent_hello_record, &hello);
	kiln__stream_resume(stream);
	return 0;
}

void attached_free(struct attached *c)
{
	if (!c)
		return;
	kiln__stream_close(c->stream);
	kiln__deferred_free(c->leaving);
	kiln__frame_reader_done(&c->reader);
	kiln__buf_done(&c->out);
	kiln__buf_done(&c->held);
	free(c);
}

void attached_started(struct attached *c, uint64_t id, uint32_t pid)
{
	(void)id; /* the client counts in a session of its own, whose id is what it asked for */
	c->started = true;
	c->pid = pid;
	answer(c);
	pump_input(c);
}

bool attached_has_room(const struct attached *c)
{
	return c->out.len < OUT_ENOUGH;
}

void attached_output(struct attached *c, int stream, const void *bytes, size_t len)
{
	uint8_t head[KILN__FRAME_DATA_HEAD];

	if (!c->answered || c->ended)
		return;
	kiln__frame_data_head(head, stream == 1 ? KILN__AGENT_STDOUT : KILN__AGENT_STDERR, 0,
			      c->output_at[stream - 1], len);
	kiln__buf_add(&c->out, head, sizeof(head));
	kiln__buf_add(&c->out, bytes, len);
	c->output_at[stream - 1] += len;
	flush(c);
}

void attached_exit(struct attached *c, const struct kiln__agent_exit *how)
{
	c->how = *how;
	c->exited = true;
	send_end(c);
}

void attached_fail(struct attached *c, const kiln_error *err)
{
	c->why = *err;
	c->failed = true;
	send_end(c);
}

bool attached_is_owed(const struct attached *c)
{
	return c->asked && (!c->ended || c->out.len > 0);
}

void attached_resume(struct attached *c)
{
	pump_input(c);
}
