/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include "buf.h"
#include "cleanup.h"
#include "err.h"
#include "frame.h"
#include "printable.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_CALLS 32

/* The largest answer's record: what answers are unpacked into. */
union result {
	struct kiln__agent_setup_done setup;
	struct kiln__agent_stats stats;
	struct kiln__agent_list list;
};

struct call {
	const struct kiln__record *result;
	kiln__agent_reply_fn reply;
	void *data;
	uint16_t tag; /* 0: free */
};

struct kiln__agent {
	struct kiln__stream *stream;
	struct kiln__deferred *breaking;
	const struct kiln__agent_handler *handler;
	void *data;
	struct kiln__frame_reader reader;
	struct kiln__buf out;
	struct call calls[MAX_CALLS];
	uint16_t next_tag;
	uint64_t features;
	bool hello;
	bool over;
	bool freed;
	unsigned busy;
};

void kiln__agent_error_to(const struct kiln__agent_error *error, kiln_error *ret)
{
	int code = error->code > 0 && error->code < 1000 ? -(int)error->code : KILN_EPROTO;

	kiln__fail(ret, code, "%s", error->message ? error->message : kiln_error_text(code));
	ret->os_errno = error->os_errno < 4096 ? (int)error->os_errno : 0;
	if (error->stage)
		kiln__stage(ret, error->stage);
	kiln__printable(ret->message);
	kiln__printable(ret->stage);
}

static void release(struct kiln__agent *agent)
{
	kiln__stream_close(agent->stream);
	kiln__deferred_free(agent->breaking);
	kiln__frame_reader_done(&agent->reader);
	kiln__buf_done(&agent->out);
	free(agent);
}

static void leave(struct kiln__agent *agent)
{
	if (--agent->busy == 0 && agent->freed)
		release(agent);
}

void kiln__agent_free(struct kiln__agent *agent)
{
	if (!agent)
		return;
	agent->freed = true;
	if (agent->busy == 0)
		release(agent);
}

/* Called with the agent busy. */
static void over(struct kiln__agent *agent, const kiln_error *err)
{
	if (agent->over || agent->freed)
		return;
	agent->over = true;
	for (size_t i = 0; i < MAX_CALLS && !agent->freed; i++) {
		struct call call = agent->calls[i];

		agent->calls[i].tag = 0;
		if (call.tag && call.reply)
			call.reply(call.data, NULL, err);
	}
	if (!agent->freed)
		agent->handler->closed(agent->data, err);
}

static void on_breaking(void *data)
{
	struct kiln__agent *agent = data;
	kiln_error err;

	kiln__fail(&err, KILN_EIO, "the guest's agent has closed its connection");
	agent->busy++;
	over(agent, &err);
	leave(agent);
}

static void flush(struct kiln__agent *agent)
{
	ssize_t n;

	if (agent->over || (!agent->out.len && !agent->out.failed))
		return;
	n = agent->out.failed ? KILN_ENOMEM
			      : kiln__stream_write(agent->stream, agent->out.data, agent->out.len);
	if (n < 0)
		kiln__deferred_schedule(agent->breaking);
	else
		kiln__buf_drop(&agent->out, (size_t)n);
}

int kiln__agent_request(struct kiln__agent *agent, const struct kiln__agent_call *call,
			kiln_error *err)
{
	size_t i = 0;

	if (agent->over)
		return kiln__fail(err, KILN_EDIED, "the guest's agent is gone");
	while (i < MAX_CALLS && agent->calls[i].tag)
		i++;
	if (i == MAX_CALLS)
		return kiln__fail(err, KILN_EBUSY, "the guest's agent has not answered %d requests",
				  MAX_CALLS);
	if (++agent->next_tag == 0)
		agent->next_tag = 1;
	agent->calls[i] = (struct call){
		.result = call->result,
		.reply = call->reply,
		.data = call->data,
		.tag = agent->next_tag,
	};
	kiln__frame_pack(&agent->out, call->type, 0, agent->next_tag, call->record, call->value);
	flush(agent);
	return 0;
}

uint64_t kiln__agent_features(const struct kiln__agent *agent)
{
	return agent->features;
}

/* --- frames in ------------------------------------------------------------------------ */

static int on_hello(struct kiln__agent *agent, const struct kiln__frame *frame, kiln_error *err)
{
	const struct kiln__agent_hello own = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};
	struct kiln__agent_hello hello;
	int r;

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
	agent->hello = true;
	agent->features = hello.features;
	agent->handler->hello(agent->data, &hello);
	return 0;
}

static int on_reply(struct kiln__agent *agent, const struct kiln__frame *frame, kiln_error *err)
{
	union result result;
	struct kiln__agent_error error;
	kiln_error why;
	struct call call = {.tag = 0};
	int r = 0;

	for (size_t i = 0; i < MAX_CALLS && !call.tag; i++)
		if (frame->tag && agent->calls[i].tag == frame->tag) {
			call = agent->calls[i];
			agent->calls[i].tag = 0;
		}
	if (frame->type == KILN__AGENT_ERROR) {
		r = kiln__record_unpack(&kiln__agent_error_record, frame->body, frame->len, &error,
					err);
		if (r < 0)
			return r;
		kiln__agent_error_to(&error, &why);
		if (!call.tag) { /* the connection's end, and why */
			over(agent, &why);
			return 0;
		}
	} else if (!call.tag) {
		return kiln__fail(err, KILN_EPROTO,
				  "the guest's agent answered what was not asked");
	} else if (call.result) {
		r = kiln__record_unpack(call.result, frame->body, frame->len, &result, err);
	}
	if (r == 0 && call.reply)
		call.reply(call.data, call.result && frame->type == KILN__AGENT_OK ? &result : NULL,
			   frame->type == KILN__AGENT_ERROR ? &why : NULL);
	return r;
}

static int on_shutdown_event(struct kiln__agent *agent, const struct kiln__frame *frame,
			     kiln_error *err)
{
	struct kiln__agent_event_shutdown event;
	int r = kiln__record_unpack(&kiln__agent_event_shutdown_record, frame->body, frame->len,
				    &event, err);

	if (r == 0 && agent->handler->shutting_down)
		agent->handler->shutting_down(agent->data, event.cause);
	return r;
}

static int on_frame(struct kiln__agent *agent, const struct kiln__frame *frame, kiln_error *err)
{
	if (!agent->hello)
		return on_hello(agent, frame, err);
	switch (frame->type) {
	case KILN__AGENT_OK:
	case KILN__AGENT_ERROR:
		return on_reply(agent, frame, err);
	case KILN__AGENT_EVENT_SHUTDOWN:
		return on_shutdown_event(agent, frame, err);
	case KILN__AGENT_EVENT_OOM:
		return 0; /* the exit of what was killed says so too */
	default:
		if (frame->flags & KILN__FRAME_OPTIONAL)
			return 0;
		return kiln__fail(err, KILN_EPROTO, "the guest's agent sent a frame of type %u",
				  frame->type);
	}
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct kiln__agent *agent = data;
	const uint8_t *at = bytes;
	size_t done = 0;
	struct kiln__frame frame;
	kiln_error err;
	bool whole;

	agent->busy++;
	while (done < len && !agent->freed && !agent->over) {
		int64_t n = kiln__frame_read(&agent->reader, at + done, len - done, &frame, &whole,
					     &err);

		if (n >= 0)
			done += (size_t)n;
		if (n < 0 || (whole && on_frame(agent, &frame, &err) < 0))
			over(agent, &err);
	}
	leave(agent);
	return len;
}

static void on_eof(void *data)
{
	on_breaking(data);
}

static void on_writable(void *data)
{
	flush(data);
}

static void on_error(void *data, const kiln_error *err)
{
	struct kiln__agent *agent = data;

	agent->busy++;
	over(agent, err);
	leave(agent);
}

static const struct kiln__stream_handler stream_handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_writable = on_writable,
	.on_error = on_error,
};

int kiln__agent_new(struct kiln__agent **ret, kiln_loop *loop, struct kiln__stream *stream,
		    const struct kiln__agent_handler *handler, void *data, kiln_error *err)
{
	const struct kiln__agent_hello hello = {
		.version_min = KILN__AGENT_VERSION_MIN,
		.version_max = KILN__AGENT_VERSION,
	};
	struct kiln__agent *agent = calloc(1, sizeof(*agent));
	int r;

	if (!agent)
		return kiln__fail_nomem(err);
	agent->handler = handler;
	agent->data = data;
	r = kiln__deferred_new(&agent->breaking, loop, on_breaking, agent, err);
	if (r < 0) {
		free(agent);
		return r;
	}
	kiln__frame_reader_init(&agent->reader, kiln__agent_limit);
	agent->stream = stream;
	kiln__stream_set_handler(stream, &stream_handler, agent);
	kiln__frame_pack(&agent->out, KILN__AGENT_HELLO, 0, 0, &kiln__agent_hello_record, &hello);
	*ret = agent;
	flush(agent);
	agent->busy++;
	kiln__stream_resume(stream);
	leave(agent);
	return 0;
}
