/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control connection.
 *
 * Reading: bytes are gathered until a line is whole; each line is parsed and
 * handled at once, on the loop's thread. Bytes behind a line that ends the messages
 * (a raw answer) are never taken from the stream, so that its next owner finds
 * them there. Writing: what the stream does not take waits in one buffer.
 *
 * Nothing here calls its user from inside the user's own call: ends of the
 * connection and handing over of streams go through one deferred call. A callback
 * may free the connection, so everything that calls one holds it ("depth") and
 * lets go with leave().
 *
 * Trust: none in the peer. Lines, the output queue and the number of unanswered
 * requests are bounded; what is no message ends the connection.
 */
#include "control.h"

#include "buf.h"
#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RPC_PARSE_ERROR     (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_NO_METHOD       (-32601)

/* A client's request. */
struct pending {
	struct pending *next;
	uint64_t number;
	char *method;
	json_t *message; /* not sent yet: waits for the hello */
	bool failed;     /* to be completed with "err" */
	kiln_error err;
	kiln__control_answer_fn answer;
	kiln__control_raw_fn raw;
	void *data;
};

struct kiln__control_call {
	struct kiln__control *control; /* NULL: it has been freed */
	struct kiln__control_call *next;
	json_t *id;
};

struct kiln__control {
	struct kiln__stream *stream;
	const struct kiln__control_handler *handler;
	void *data;
	struct kiln__deferred *deferred;
	bool server;

	struct kiln__buf in;  /* the beginning of a line */
	struct kiln__buf out; /* what the stream has not taken yet */

	struct kiln__control_call *calls; /* server: unanswered requests */
	size_t call_count;
	struct kiln__control_call *held; /* no message is read until this one is answered */

	struct pending *pending; /* client: in the order they were made */
	uint64_t last_number;
	bool greeted;
	json_t *features;
	char version[64];
	char peer_id[64];

	kiln__control_raw_fn raw; /* to be given the stream when all is written */
	void *raw_data;
	uint64_t raw_number; /* client: of the request that is for */

	bool idle;     /* to be told: there is nothing left to answer or to write */
	bool resume;   /* reading is to go on */
	bool ended;    /* nothing is read or written any more; "end" says why */
	bool reported; /* on_closed has been called */
	kiln_error end;
	unsigned depth; /* frames of ours on the stack that call out */
	bool freed;
};

/* --- life ------------------------------------------------------------------------ */

static void pending_free(struct pending *pending)
{
	json_decref(pending->message);
	free(pending->method);
	free(pending);
}

static void release(struct kiln__control *control)
{
	kiln__deferred_free(control->deferred);
	kiln__stream_close(control->stream);
	json_decref(control->features);
	kiln__buf_done(&control->in);
	kiln__buf_done(&control->out);
	free(control);
}

void kiln__control_free(struct kiln__control *control)
{
	struct pending *pending;

	if (!control || control->freed)
		return;
	control->freed = true;
	while ((pending = control->pending)) {
		control->pending = pending->next;
		pending_free(pending);
	}
	for (struct kiln__control_call *call = control->calls; call; call = call->next)
		call->control = NULL;
	control->calls = NULL;
	if (control->depth == 0)
		release(control);
}

static void enter(struct kiln__control *control)
{
	control->depth++;
}

/* False if a callback has freed the connection: it is not to be touched any more. */
static bool leave(struct kiln__control *control)
{
	bool freed = control->freed;

	if (--control->depth == 0 && freed)
		release(control);
	return !freed;
}

/* The connection is over; the user learns it from the deferred call. */
static void end(struct kiln__control *control, const kiln_error *why)
{
	if (control->ended)
		return;
	control->ended = true;
	control->end = *why;
	kiln__deferred_schedule(control->deferred);
}

static void end_nomem(struct kiln__control *control)
{
	kiln_error err;

	kiln__fail_nomem(&err);
	end(control, &err);
}

static void unlink_pending(struct kiln__control *control, const struct pending *pending)
{
	struct pending **at = &control->pending;

	while (*at != pending)
		at = &(*at)->next;
	*at = pending->next;
}

/* Takes a request off the list and completes it. */
static void complete(struct kiln__control *control, struct pending *pending, json_t *result,
		     const kiln_error *err)
{
	unlink_pending(control, pending);
	if (pending->raw)
		pending->raw(pending->data, NULL, err);
	else
		pending->answer(pending->data, result, err);
	pending_free(pending);
}

static void fail_all(struct kiln__control *control, const kiln_error *err)
{
	while (control->pending)
		complete(control, control->pending, NULL, err);
}

/* Completes what failed before it was sent. A callback may change the list: each walk is a new one.
 */
static void complete_failed(struct kiln__control *control)
{
	struct pending *pending = control->pending;

	while (pending) {
		if (pending->failed) {
			kiln_error err = pending->err;

			complete(control, pending, NULL, &err);
			pending = control->pending;
		} else {
			pending = pending->next;
		}
	}
}

static void report_end(struct kiln__control *control)
{
	control->reported = true;
	if (!control->freed)
		fail_all(control, &control->end);
	if (!control->freed && control->handler->on_closed)
		control->handler->on_closed(control->data, &control->end);
}

/* Gives the stream away and frees the rest. */
static void hand_over(struct kiln__control *control)
{
	kiln__control_raw_fn fn = control->raw;
	void *data = control->raw_data;
	struct kiln__stream *stream = kiln__take(control->stream);
	kiln_error err;

	kiln__fail(&err, KILN_ECANCELED, "the connection has become a raw stream");
	enter(control);
	fail_all(control, &err);
	kiln__control_free(control);
	leave(control);
	fn(data, stream, NULL);
}

/* A raw stream was promised, and the connection ended before it could be given. */
static void report_lost_stream(struct kiln__control *control)
{
	kiln__control_raw_fn fn = control->raw;

	control->raw = NULL;
	if (fn && !control->server)
		fn(control->raw_data, NULL, &control->end);
}

static void on_deferred(void *data)
{
	struct kiln__control *control = data;

	enter(control);
	complete_failed(control);
	if (control->idle && !kiln__control_pending(control) && !control->freed) {
		control->idle = false;
		control->handler->on_idle(control->data);
	}
	if (control->ended && !control->reported && !control->freed) {
		report_lost_stream(control);
		report_end(control);
	}
	if (!leave(control) || control->ended)
		return;
	if (control->raw && control->out.len == 0) {
		hand_over(control);
	} else if (control->resume) {
		control->resume = false;
		kiln__stream_resume(control->stream);
	}
}

/* --- writing ---------------------------------------------------------------------- */

/* Lets the user know from the loop, if there is nothing left to do and he wants to know it. */
static void note_idle(struct kiln__control *control)
{
	if (!control->handler->on_idle || control->raw || control->ended ||
	    kiln__control_pending(control))
		return;
	control->idle = true;
	kiln__deferred_schedule(control->deferred);
}

static void flush(struct kiln__control *control)
{
	kiln_error err;
	ssize_t n;

	if (control->ended || control->out.len == 0)
		return;
	n = kiln__stream_write(control->stream, control->out.data, control->out.len);
	if (n < 0) {
		kiln__fail(&err, KILN_EDIED, "the other side has closed the control connection");
		end(control, &err);
		return;
	}
	kiln__buf_drop(&control->out, (size_t)n);
	if (control->raw && control->out.len == 0)
		kiln__deferred_schedule(control->deferred);
	note_idle(control);
}

static int append(const char *bytes, size_t len, void *data)
{
	struct kiln__buf *buf = data;

	kiln__buf_add(buf, bytes, len);
	return buf->failed ? -1 : 0;
}

/* Queues and writes one message. KILN_EOVERFLOW: too long for a line; nothing of it was queued. */
static int put(struct kiln__control *control, const json_t *message)
{
	size_t before = control->out.len;
	kiln_error err;

	if (control->ended)
		return 0;
	if (!message || json_dump_callback(message, append, &control->out, JSON_COMPACT) < 0) {
		end_nomem(control);
		return 0;
	}
	if (control->out.len - before > KILN__CONTROL_LINE_MAX) {
		control->out.len = before;
		return KILN_EOVERFLOW;
	}
	kiln__buf_addc(&control->out, '\n');
	if (control->out.failed) {
		end_nomem(control);
		return 0;
	}
	flush(control);
	if (control->out.len > KILN__CONTROL_QUEUE_MAX) {
		kiln__fail(&err, KILN_EOVERFLOW, "the other side does not read what it is sent");
		end(control, &err);
	}
	return 0;
}

/* {"jsonrpc":"2.0","method":...,"params":...}; takes @params; NULL when out of memory. */
static json_t *message_new(const char *method, json_t *params)
{
	json_t *message = json_pack("{s:s,s:s}", "jsonrpc", "2.0", "method", method);

	if (!message)
		json_decref(params);
	else if (params && json_object_set_new(message, "params", params) < 0) {
		json_decref(message);
		return NULL;
	}
	return message;
}

void kiln__control_notify(struct kiln__control *control, const char *method, json_t *params)
{
	json_t *message = message_new(method, params);
	kiln_error err;

	if (put(control, message) < 0) {
		kiln__fail(&err, KILN_EOVERFLOW, "notification \"%s\" is too long", method);
		end(control, &err);
	}
	json_decref(message);
}

bool kiln__control_has_ended(const struct kiln__control *control)
{
	return control->ended;
}

bool kiln__control_pending(const struct kiln__control *control)
{
	return !control->ended && (control->calls || control->pending || control->out.len > 0);
}

/* --- answering --------------------------------------------------------------------- */

/* Sends {"id":...,@key:@value}; takes @value. KILN_EOVERFLOW as put(). */
static int put_answer(struct kiln__control *control, json_t *id, const char *key, json_t *value)
{
	json_t *message = json_pack("{s:s,s:O?,s:o}", "jsonrpc", "2.0", "id", id, key, value);
	int r = put(control, message);

	json_decref(message);
	return r;
}

/* True while nothing further may be read. */
static bool stalled(const struct kiln__control *control)
{
	return control->ended || control->freed || control->raw || control->held ||
	       control->call_count >= KILN__CONTROL_CALLS_MAX;
}

/* Frees the call. The reading that it may have held up goes on from the loop. */
static void call_free(struct kiln__control_call *call)
{
	struct kiln__control *control = call->control;
	struct kiln__control_call **at;

	if (control) {
		bool was_stalled = stalled(control);

		for (at = &control->calls; *at != call; at = &(*at)->next)
			;
		*at = call->next;
		control->call_count--;
		if (control->held == call)
			control->held = NULL;
		if (was_stalled && !stalled(control)) {
			control->resume = true;
			kiln__deferred_schedule(control->deferred);
		}
		note_idle(control);
	}
	json_decref(call->id);
	free(call);
}

struct kiln__control *kiln__control_of(const struct kiln__control_call *call)
{
	return call->control;
}

void kiln__control_hold(struct kiln__control_call *call)
{
	if (call->control)
		call->control->held = call;
}

void kiln__control_fail(struct kiln__control_call *call, const kiln_error *err)
{
	if (call->control)
		put_answer(call->control, call->id, "error", kiln__control_error_json(err));
	call_free(call);
}

void kiln__control_fail_unknown(struct kiln__control_call *call, const char *method)
{
	kiln_error err;

	kiln__fail(&err, RPC_NO_METHOD, "there is no method \"%.64s\"", method);
	kiln__control_fail(call, &err);
}

void kiln__control_answer(struct kiln__control_call *call, json_t *result)
{
	kiln_error err;

	if (!call->control) {
		json_decref(result);
	} else if (put_answer(call->control, call->id, "result", result ? result : json_object()) <
		   0) {
		kiln__fail(&err, KILN_EOVERFLOW, "the answer is too long for a line");
		put_answer(call->control, call->id, "error", kiln__control_error_json(&err));
	}
	call_free(call);
}

void kiln__control_answer_raw(struct kiln__control_call *call, kiln__control_raw_fn fn, void *data)
{
	struct kiln__control *control = call->control;

	if (control && !control->ended) {
		put_answer(control, call->id, "result", json_object());
		control->raw = fn;
		control->raw_data = data;
		if (control->out.len == 0)
			kiln__deferred_schedule(control->deferred);
	}
	call_free(call);
}

void kiln__control_send_hello(struct kiln__control *control, const char *id, const char *version,
			      const char *const *features)
{
	json_t *names = json_array();

	for (; *features; features++)
		json_array_append_new(names, json_string(*features));
	kiln__control_notify(control, "hello",
			     json_pack("{s:i,s:s,s:s,s:o}", "protocol", KILN__CONTROL_PROTOCOL,
				       "version", version, "id", id, "features", names));
}

/* --- requesting ---------------------------------------------------------------------- */

bool kiln__control_has_feature(const struct kiln__control *control, const char *feature)
{
	const json_t *name;
	size_t i;

	json_array_foreach (control->features, i, name)
		if (json_is_string(name) && strcmp(json_string_value(name), feature) == 0)
			return true;
	return false;
}

const char *kiln__control_version(const struct kiln__control *control)
{
	return control->version;
}

const char *kiln__control_peer_id(const struct kiln__control *control)
{
	return control->peer_id;
}

/* Sends a request's message, if the server can understand it. */
static void send_pending(struct kiln__control *control, struct pending *pending, bool eager)
{
	json_t *message = kiln__take(pending->message);

	if (!eager && !kiln__control_has_feature(control, pending->method)) {
		pending->failed = true;
		kiln__fail(&pending->err, KILN_ENOTSUP,
			   "kiln-runner %s of this VM does not know \"%s\"", control->version,
			   pending->method);
		kiln__hint(&pending->err, "restart the VM to run it with this version of kiln");
	} else if (put(control, message) < 0) {
		pending->failed = true;
		kiln__fail(&pending->err, KILN_EOVERFLOW, "request \"%s\" is too long",
			   pending->method);
	}
	json_decref(message);
	if (pending->failed)
		kiln__deferred_schedule(control->deferred);
}

static struct pending *pending_new(struct kiln__control *control,
				   const struct kiln__control_request *request)
{
	json_t *message = message_new(request->method, request->params);
	struct pending *pending = calloc(1, sizeof(*pending));

	if (!pending || !message)
		goto fail;
	pending->number = ++control->last_number;
	pending->method = strdup(request->method);
	if (!pending->method ||
	    json_object_set_new(message, "id", json_integer((json_int_t)pending->number)) < 0)
		goto fail;
	pending->message = message;
	pending->answer = request->answer;
	pending->raw = request->raw;
	pending->data = request->data;
	return pending;
fail:
	json_decref(message);
	if (pending)
		pending_free(pending);
	return NULL;
}

int kiln__control_request(struct kiln__control *control,
			  const struct kiln__control_request *request, uint64_t *ret_number,
			  kiln_error *err)
{
	struct pending *pending = pending_new(control, request);
	struct pending **at;

	if (!pending)
		return kiln__fail_nomem(err);
	for (at = &control->pending; *at; at = &(*at)->next)
		;
	*at = pending;
	if (control->ended) {
		pending->failed = true;
		pending->err = control->end;
		kiln__deferred_schedule(control->deferred);
	} else if (control->greeted || request->eager) {
		send_pending(control, pending, request->eager);
	}
	if (ret_number)
		*ret_number = pending->number;
	return 0;
}

void kiln__control_forget(struct kiln__control *control, uint64_t number)
{
	struct pending *pending = control->pending;
	kiln_error err;

	while (pending && pending->number != number)
		pending = pending->next;
	if (pending) {
		unlink_pending(control, pending);
		pending_free(pending);
	} else if (control->raw && control->raw_number == number) {
		/* For the server it is a raw stream by now: it carries no messages any more. */
		control->raw = NULL;
		kiln__fail(&err, KILN_ECANCELED, "the stream is not wanted any more");
		end(control, &err);
	}
}

/* --- reading --------------------------------------------------------------------------- */

/* Ends a connection whose peer broke the protocol; a server says so before, as JSON-RPC wants. */
static void refuse(struct kiln__control *control, int rpc_code, const char *why)
{
	kiln_error err;

	if (control->server) {
		kiln__fail(&err, rpc_code, "%s", why);
		put_answer(control, NULL, "error", kiln__control_error_json(&err));
	}
	kiln__fail(&err, KILN_EPROTO, "control connection: %s", why);
	end(control, &err);
}

static void on_hello(struct kiln__control *control, json_t *params)
{
	json_int_t protocol = json_integer_value(json_object_get(params, "protocol"));
	json_t *features = json_object_get(params, "features");
	kiln_error err;

	kiln__control_copy_text(control->version, sizeof(control->version),
				json_object_get(params, "version"));
	kiln__control_copy_text(control->peer_id, sizeof(control->peer_id),
				json_object_get(params, "id"));
	if (protocol != KILN__CONTROL_PROTOCOL) {
		kiln__fail(&err, KILN_ENOTSUP,
			   "kiln-runner %s of this VM speaks control protocol %lld, not %d",
			   control->version, (long long)protocol, KILN__CONTROL_PROTOCOL);
		kiln__hint(&err, "use the version of kiln that started the VM");
		end(control, &err);
		return;
	}
	control->greeted = true;
	control->features = json_incref(features);
	for (struct pending *pending = control->pending; pending; pending = pending->next)
		if (pending->message)
			send_pending(control, pending, false);
}

static void on_answer(struct kiln__control *control, json_t *message)
{
	json_t *id = json_object_get(message, "id");
	json_t *result = json_object_get(message, "result");
	json_t *error = json_object_get(message, "error");
	struct pending *pending = control->pending;
	kiln_error err;

	while (pending && (pending->message || pending->failed || !json_is_integer(id) ||
			   (json_int_t)pending->number != json_integer_value(id)))
		pending = pending->next;
	if (!pending) {
		/* A forgotten request's answer is dropped; an error without an id is about the
		 * connection. */
		if (error && json_is_null(id)) {
			kiln__control_error_parse(error, &err);
			end(control, &err);
		}
		return;
	}
	if (error || !result) {
		kiln__control_error_parse(error, &err);
		complete(control, pending, NULL, &err);
	} else if (pending->raw) {
		control->raw = pending->raw;
		control->raw_data = pending->data;
		control->raw_number = pending->number;
		unlink_pending(control, pending);
		pending_free(pending);
		kiln__deferred_schedule(control->deferred);
	} else {
		complete(control, pending, result, NULL);
	}
}

static void on_request(struct kiln__control *control, const char *method, json_t *id,
		       json_t *params)
{
	struct kiln__control_call *call;

	if (!json_is_integer(id) && !json_is_string(id)) {
		refuse(control, RPC_INVALID_REQUEST, "a request's id is neither number nor string");
		return;
	}
	if (json_string_length(id) > KILN__CONTROL_ID_MAX) {
		refuse(control, RPC_INVALID_REQUEST, "a request's id is longer than 64 bytes");
		return;
	}
	call = calloc(1, sizeof(*call));
	if (!call) {
		end_nomem(control);
		return;
	}
	call->control = control;
	call->id = json_incref(id);
	call->next = control->calls;
	control->calls = call;
	control->call_count++;
	control->handler->on_request(control->data, call, method, params);
}

static void on_message(struct kiln__control *control, json_t *message)
{
	const char *jsonrpc = json_string_value(json_object_get(message, "jsonrpc"));
	const char *method = json_string_value(json_object_get(message, "method"));
	json_t *id = json_object_get(message, "id");
	json_t *params = json_object_get(message, "params");

	if (!json_is_object(message) || !jsonrpc || strcmp(jsonrpc, "2.0") != 0 ||
	    (params && !json_is_object(params))) {
		refuse(control, RPC_INVALID_REQUEST, "a line is not a JSON-RPC 2.0 message");
	} else if (control->server) {
		if (!method)
			refuse(control, RPC_INVALID_REQUEST, "a line is not a request");
		else if (id)
			on_request(control, method, id, params);
		else if (control->handler->on_notify)
			control->handler->on_notify(control->data, method, params);
	} else if (!method) {
		on_answer(control, message);
	} else if (id) {
		refuse(control, RPC_INVALID_REQUEST, "a server sent a request");
	} else if (strcmp(method, "hello") == 0 && !control->greeted) {
		on_hello(control, params);
	} else if (control->handler->on_notify) {
		control->handler->on_notify(control->data, method, params);
	}
}

static void on_line(struct kiln__control *control, const char *line, size_t len)
{
	json_error_t why;
	json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	char text[sizeof(why.text) + 32];

	if (message) {
		on_message(control, message);
		json_decref(message);
	} else {
		snprintf(text, sizeof(text), "a line is not JSON: %s", why.text);
		refuse(control, RPC_PARSE_ERROR, text);
	}
}

/* Takes one line, or the beginning of one, from @bytes; returns how many bytes that was. */
static size_t take_line(struct kiln__control *control, const char *bytes, size_t len)
{
	const char *newline = memchr(bytes, '\n', len);
	size_t part = newline ? (size_t)(newline - bytes) : len;

	if (control->in.len + part > KILN__CONTROL_LINE_MAX) {
		refuse(control, RPC_PARSE_ERROR, "a line is longer than 1 MiB");
		return len;
	}
	if (newline && control->in.len == 0) {
		on_line(control, bytes, part);
		return part + 1;
	}
	kiln__buf_add(&control->in, bytes, part);
	if (control->in.failed) {
		end_nomem(control);
		return len;
	}
	if (newline) {
		kiln__autobuf line = control->in;

		control->in = (struct kiln__buf)KILN__BUF_INIT;
		on_line(control, line.data, line.len);
		return part + 1;
	}
	return part;
}

static size_t on_data(void *data, const void *bytes, size_t len)
{
	struct kiln__control *control = data;
	size_t done = 0;

	enter(control);
	while (done < len && !stalled(control))
		done += take_line(control, (const char *)bytes + done, len - done);
	/* Of a dead connection everything is swallowed, so that its end is noticed. */
	if (!leave(control) || control->ended)
		return len;
	return done;
}

static void on_eof(void *data)
{
	kiln_error err;

	kiln__fail(&err, KILN_EDIED, "the other side has closed the control connection");
	end(data, &err);
}

static void on_writable(void *data)
{
	flush(data);
}

static void on_error(void *data, const kiln_error *err)
{
	kiln_error why = *err;

	why.code = KILN_EDIED;
	end(data, &why);
}

static const struct kiln__stream_handler stream_handler = {
	.on_data = on_data,
	.on_eof = on_eof,
	.on_writable = on_writable,
	.on_error = on_error,
};

static void start_reading(struct kiln__control *control)
{
	kiln__stream_set_handler(control->stream, &stream_handler, control);
	control->resume = true;
	kiln__deferred_schedule(control->deferred);
}

int kiln__control_new(struct kiln__control **ret, kiln_loop *loop, struct kiln__stream *stream,
		      bool server, const struct kiln__control_handler *handler, void *data,
		      kiln_error *err)
{
	struct kiln__control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return kiln__fail_nomem(err);
	r = kiln__deferred_new(&control->deferred, loop, on_deferred, control, err);
	if (r < 0) {
		free(control);
		return r;
	}
	control->stream = stream;
	control->server = server;
	control->handler = handler;
	control->data = data;
	start_reading(control);
	*ret = control;
	return 0;
}
