/* SPDX-License-Identifier: Apache-2.0 */
/* The control connection: framing at every split, matching, errors, bounds, raw streams. */
#include "buf.h"
#include "control.h"
#include "err.h"
#include "mempair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One side of a test: what it was told. */
struct side {
	struct kiln__control *control;
	struct kiln__control_call *call; /* the last request, unanswered */
	struct kiln__control_call *earlier[KILN__CONTROL_CALLS_MAX]; /* those before it */
	unsigned requests;
	char method[64];
	char notified[64];
	int closed; /* the code of on_closed; 0: not called */
	bool free_when_closed;
	bool hold;
	bool echo; /* answer each request at once with its params */
};

struct answer {
	unsigned count;
	int code;
	kiln_error err;
	char text[256];
};

struct raw {
	unsigned count;
	int code;
	struct kiln__stream *stream;
	struct kiln__buf got;
	bool eof;
};

struct world {
	kiln_loop *loop;
	struct side server;
	struct side client;
	struct kiln__stream *end; /* the other end, where a test speaks for itself */
	struct raw wire;          /* what came out of it */
};

static void on_request(void *data, struct kiln__control_call *call, const char *method,
		       json_t *params)
{
	struct side *side = data;

	if (side->call && !side->echo)
		side->earlier[side->requests % KILN__CONTROL_CALLS_MAX] = side->call;
	side->requests++;
	snprintf(side->method, sizeof(side->method), "%s", method);
	side->call = call;
	if (side->hold)
		kiln__control_hold(call);
	if (side->echo)
		kiln__control_answer(call, json_incref(params));
}

static void on_notify(void *data, const char *method, json_t *params)
{
	struct side *side = data;

	(void)params;
	snprintf(side->notified, sizeof(side->notified), "%s", method);
}

static void on_closed(void *data, const kiln_error *err)
{
	struct side *side = data;

	assert_int_equal(side->closed, 0);
	side->closed = err->code;
	if (side->free_when_closed) {
		kiln__control_free(side->control);
		side->control = NULL;
	}
}

static const struct kiln__control_handler handler = {on_request, on_notify, on_closed};

static void on_answer(void *data, json_t *result, const kiln_error *err)
{
	struct answer *answer = data;

	answer->count++;
	assert_true(!result != !err);
	if (err) {
		answer->code = err->code;
		answer->err = *err;
	} else {
		char *text = json_dumps(result, JSON_COMPACT | JSON_SORT_KEYS);

		answer->code = 0;
		snprintf(answer->text, sizeof(answer->text), "%s", text);
		free(text);
	}
}

static size_t raw_on_data(void *data, const void *bytes, size_t len)
{
	struct raw *raw = data;

	kiln__buf_add(&raw->got, bytes, len);
	return len;
}

static void raw_on_eof(void *data)
{
	((struct raw *)data)->eof = true;
}

static void raw_on_writable(void *data)
{
	(void)data;
}

static void raw_on_error(void *data, const kiln_error *err)
{
	((struct raw *)data)->code = err->code;
}

static const struct kiln__stream_handler raw_handler = {raw_on_data, raw_on_eof, raw_on_writable,
							raw_on_error};

static void on_raw(void *data, struct kiln__stream *stream, const kiln_error *err)
{
	struct raw *raw = data;

	raw->count++;
	raw->stream = stream;
	assert_true(!stream != !err);
	if (err) {
		raw->code = err->code;
		return;
	}
	kiln__stream_set_handler(stream, &raw_handler, raw);
	kiln__stream_resume(stream);
}

/* In memory everything is a chain of deferred calls: with nothing left on the loop, all is done. */
static void settle(struct world *world)
{
	unsigned rounds = 0;

	while (kiln_loop_dispatch(world->loop))
		assert_true(++rounds < 10u * 1000 * 1000);
}

static void open_side(struct world *world, struct side *side, struct kiln__stream *stream,
		      bool server)
{
	assert_int_equal(kiln__control_new(&side->control, world->loop, stream, server, &handler,
					   side, NULL),
			 0);
}

/* A server and a client, joined. */
static struct world *world_new(size_t chunk, size_t room)
{
	struct world *world = calloc(1, sizeof(*world));
	struct kiln__stream *ends[2];

	assert_non_null(world);
	assert_int_equal(kiln_loop_new(&world->loop, NULL), 0);
	mempair_new(ends, world->loop, chunk, room);
	open_side(world, &world->server, ends[0], true);
	open_side(world, &world->client, ends[1], false);
	return world;
}

/* One side alone; the test holds the wire. */
static struct world *world_wire(bool server, size_t chunk, size_t room)
{
	struct world *world = calloc(1, sizeof(*world));
	struct kiln__stream *ends[2];

	assert_non_null(world);
	assert_int_equal(kiln_loop_new(&world->loop, NULL), 0);
	mempair_new(ends, world->loop, chunk, room);
	open_side(world, server ? &world->server : &world->client, ends[0], server);
	world->end = ends[1];
	kiln__stream_set_handler(world->end, &raw_handler, &world->wire);
	kiln__stream_resume(world->end);
	return world;
}

static void say(struct world *world, const char *text)
{
	assert_int_equal(kiln__stream_write(world->end, text, strlen(text)), strlen(text));
	settle(world);
}

static void world_free(struct world *world)
{
	if (world->server.call && !world->server.echo) {
		kiln_error err;

		kiln__fail(&err, KILN_ECANCELED, "end of the test");
		kiln__control_free(world->server.control);
		kiln__control_fail(world->server.call, &err);
	} else {
		kiln__control_free(world->server.control);
	}
	kiln__control_free(world->client.control);
	kiln__stream_close(world->end);
	kiln__buf_done(&world->wire.got);
	kiln_loop_free(world->loop);
	free(world);
}

static const char *const features[] = {"inspect", "exec", "events", NULL};

static void greet(struct world *world)
{
	kiln__control_send_hello(world->server.control, "00ff", "0.1.0", features);
}

static uint64_t ask(struct world *world, const char *method, json_t *params, struct answer *answer)
{
	uint64_t number = 0;

	assert_int_equal(kiln__control_request(world->client.control,
					       &(struct kiln__control_request){
						       .method = method,
						       .params = params,
						       .answer = on_answer,
						       .data = answer,
					       },
					       &number, NULL),
			 0);
	assert_true(number > 0);
	return number;
}

static uint64_t ask_raw(struct world *world, const char *method, struct raw *raw)
{
	uint64_t number = 0;

	assert_int_equal(kiln__control_request(world->client.control,
					       &(struct kiln__control_request){
						       .method = method,
						       .raw = on_raw,
						       .data = raw,
					       },
					       &number, NULL),
			 0);
	return number;
}

/* --- framing and matching ------------------------------------------------------------ */

static void an_answer_arrives_whole_at_every_split(void **state)
{
	(void)state;
	for (size_t chunk = 1; chunk < 200; chunk++) {
		struct world *world = world_new(chunk, 1 << 20);
		struct answer answer = {0};

		world->server.echo = true;
		greet(world);
		ask(world, "inspect", json_pack("{s:s,s:i}", "text", "a\nb\"\xc3\xa4", "n", 7),
		    &answer);
		assert_int_equal(answer.count, 0); /* never from inside the call */
		settle(world);
		assert_int_equal(answer.count, 1);
		assert_string_equal(answer.text, "{\"n\":7,\"text\":\"a\\nb\\\"\xc3\xa4\"}");
		assert_string_equal(world->server.method, "inspect");
		world_free(world);
	}
}

static void short_writes_lose_nothing(void **state)
{
	struct world *world = world_new(3, 5);
	struct answer answers[40] = {0};

	(void)state;
	world->server.echo = true;
	greet(world);
	for (int i = 0; i < 40; i++)
		ask(world, "inspect", json_pack("{s:i}", "n", i), &answers[i]);
	settle(world);
	for (int i = 0; i < 40; i++) {
		char want[32];

		snprintf(want, sizeof(want), "{\"n\":%d}", i);
		assert_int_equal(answers[i].count, 1);
		assert_string_equal(answers[i].text, want);
	}
	world_free(world);
}

static void answers_are_matched_by_number_not_by_order(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer first = {0};
	struct answer second = {0};
	struct kiln__control_call *calls[2];

	(void)state;
	greet(world);
	ask(world, "inspect", NULL, &first);
	settle(world);
	calls[0] = kiln__take(world->server.call);
	ask(world, "events", NULL, &second);
	settle(world);
	calls[1] = kiln__take(world->server.call);
	kiln__control_answer(calls[1], json_pack("{s:i}", "second", 2));
	settle(world);
	assert_int_equal(first.count, 0);
	assert_string_equal(second.text, "{\"second\":2}");
	kiln__control_answer(calls[0], NULL);
	settle(world);
	assert_string_equal(first.text, "{}");
	world_free(world);
}

static void a_forgotten_request_completes_never(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer answer = {0};
	uint64_t number;

	(void)state;
	greet(world);
	number = ask(world, "inspect", NULL, &answer);
	settle(world);
	kiln__control_forget(world->client.control, number);
	kiln__control_answer(kiln__take(world->server.call), NULL);
	settle(world);
	assert_int_equal(answer.count, 0);
	assert_int_equal(world->client.closed, 0);
	world_free(world);
}

static void notifications_pass(void **state)
{
	struct world *world = world_new(1, 1 << 20);

	(void)state;
	greet(world);
	kiln__control_notify(world->server.control, "event", json_pack("{s:s}", "to", "ready"));
	settle(world);
	assert_string_equal(world->client.notified, "event");
	world_free(world);
}

/* --- versions ----------------------------------------------------------------------------- */

static void requests_wait_for_the_hello(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer answer = {0};

	(void)state;
	world->server.echo = true;
	ask(world, "inspect", NULL, &answer);
	settle(world);
	assert_int_equal(world->server.requests, 0);
	assert_false(kiln__control_has_feature(world->client.control, "inspect"));
	greet(world);
	settle(world);
	assert_int_equal(answer.count, 1);
	assert_string_equal(kiln__control_version(world->client.control), "0.1.0");
	assert_string_equal(kiln__control_peer_id(world->client.control), "00ff");
	world_free(world);
}

static void an_eager_request_does_not_wait(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer answer = {0};
	struct kiln__control_request request = {
		.method = "launch", .eager = true, .answer = on_answer, .data = &answer};

	(void)state;
	world->server.echo = true;
	assert_int_equal(kiln__control_request(world->client.control, &request, NULL, NULL), 0);
	settle(world);
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.code, 0);
	world_free(world);
}

static void a_method_the_server_does_not_list_is_refused_here(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer before = {0};
	struct answer after = {0};

	(void)state;
	ask(world, "levitate", NULL, &before);
	greet(world);
	settle(world);
	ask(world, "levitate", NULL, &after);
	assert_int_equal(after.count, 0);
	settle(world);
	assert_int_equal(before.code, KILN_ENOTSUP);
	assert_int_equal(after.code, KILN_ENOTSUP);
	assert_non_null(strstr(after.err.message, "levitate"));
	assert_int_equal(world->server.requests, 0);
	assert_int_equal(world->client.closed, 0);
	world_free(world);
}

static void a_newer_protocol_is_refused(void **state)
{
	struct world *world = world_wire(false, 4096, 1 << 20);
	struct answer answer = {0};

	(void)state;
	ask(world, "inspect", NULL, &answer);
	say(world, "{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"params\":{\"protocol\":2,"
		   "\"version\":\"9.0\x1b[31m\",\"id\":\"x\",\"features\":[\"inspect\"]}}\n");
	assert_int_equal(world->client.closed,
			 KILN_EPROTO); /* the raw escape character is no JSON */
	world_free(world);

	world = world_wire(false, 4096, 1 << 20);
	memset(&answer, 0, sizeof(answer));
	ask(world, "inspect", NULL, &answer);
	say(world,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"params\":{\"protocol\":2,"
	    "\"version\":\"9.0\\u001b[31m\\u0090\",\"id\":\"x\",\"features\":[\"inspect\"]}}\n");
	assert_int_equal(world->client.closed, KILN_ENOTSUP);
	assert_int_equal(answer.code, KILN_ENOTSUP);
	assert_non_null(strstr(answer.err.message, "9.0?[31m??"));
	world_free(world);
}

/* --- errors ------------------------------------------------------------------------------- */

static void an_error_crosses_whole(void **state)
{
	struct world *world = world_new(10, 1 << 20);
	struct answer answer = {0};
	kiln_error err;

	(void)state;
	greet(world);
	ask(world, "inspect", NULL, &answer);
	settle(world);
	kiln__fail_errno(&err, 28, "cannot write \"%s\"", "x\xff");
	kiln__stage(&err, "root");
	kiln__hint(&err, "free some space");
	kiln__control_fail(kiln__take(world->server.call), &err);
	settle(world);
	assert_int_equal(answer.code, KILN_ENOSPC);
	assert_int_equal(answer.err.os_errno, 28);
	assert_string_equal(answer.err.stage, "root");
	assert_string_equal(answer.err.hint, "free some space");
	assert_string_equal(answer.err.message, "cannot write \"x?\": No space left on device");
	world_free(world);
}

/* A console's words, a path, a character cut in two: the reason is on record all the same. */
static void a_failure_that_is_no_utf8_is_kept(void **state)
{
	kiln_error why;
	json_t *failure;

	(void)state;
	kiln__fail(&why, KILN_EDIED, "cannot run \xff\xfe: gone");
	kiln__stage(&why, "process");
	failure = kiln__control_failure_json(&why);
	assert_string_equal(json_string_value(json_object_get(failure, "message")),
			    "cannot run ??: gone");
	assert_string_equal(json_string_value(json_object_get(failure, "stage")), "process");
	assert_string_equal(json_string_value(json_object_get(failure, "code")), "EDIED");
	json_decref(failure);
}

static void an_unknown_method_is_not_supported(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer answer = {0};

	(void)state;
	greet(world);
	ask(world, "events", NULL, &answer);
	settle(world);
	kiln__control_fail_unknown(kiln__take(world->server.call), "events");
	settle(world);
	assert_int_equal(answer.code, KILN_ENOTSUP);
	world_free(world);
}

static void strange_error_objects_make_errors(void **state)
{
	static const struct {
		const char *json;
		int code;
	} cases[] = {
		{"{}", KILN_EPROTO},
		{"[]", KILN_EPROTO},
		{"{\"code\":5}", KILN_EPROTO},
		{"{\"code\":\"x\",\"message\":7,\"data\":[1]}", KILN_EPROTO},
		{"{\"code\":-32000,\"message\":\"\"}", KILN_EPROTO},
		{"{\"code\":-6,\"data\":{\"errno\":99999999999}}", KILN_EBUSY},
		{"{\"code\":-500}", -500},
		{"{\"code\":-9223372036854775808}", KILN_EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *object = json_loads(cases[i].json, 0, NULL);
		kiln_error err;

		assert_non_null(object);
		kiln__control_error_parse(object, &err);
		assert_int_equal(err.code, cases[i].code);
		assert_int_equal(err.os_errno, 0);
		assert_true(err.message[0] != '\0');
		json_decref(object);
	}
}

/* --- what is no message -------------------------------------------------------------------- */

static void a_line_that_is_no_request_is_answered_and_ends_the_connection(void **state)
{
	static const struct {
		const char *line;
		const char *answer;
	} cases[] = {
		{"rubbish\n", "-32700"},
		{"\n", "-32700"},
		{"{\"jsonrpc\":\"2.0\"\n", "-32700"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"x\"}\n", "-32700"},
		{"\xff\xfe\n", "-32700"},
		{"17\n", "-32700"},
		{"[]\n", "-32600"},
		{"{}\n", "-32600"},
		{"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}\n", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}\n", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}\n", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}\n", "-32600"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":[1]}\n", "-32600"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *world = world_wire(true, 3, 1 << 20);

		world->server.free_when_closed = true;
		say(world, cases[i].line);
		assert_int_equal(world->server.closed, KILN_EPROTO);
		if (!world->wire.got.data || !strstr(world->wire.got.data, cases[i].answer))
			fail_msg("%s was answered %s", cases[i].line, world->wire.got.data);
		assert_int_equal(world->server.requests, 0);
		assert_true(world->wire.eof);
		world_free(world);
	}
}

static void a_line_is_at_most_a_mebibyte(void **state)
{
	static const char head[] =
		"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"x\",\"params\":{\"p\":\"";
	static const char tail[] = "\"}}\n";
	const size_t max = KILN__CONTROL_LINE_MAX;

	(void)state;
	for (size_t more = 0; more < 2; more++) {
		struct world *world = world_wire(true, 60000, 4 << 20);
		char *line = malloc(max + 2);
		size_t len = max + 1 + more; /* the newline does not count */

		assert_non_null(line);
		memset(line, 'x', len);
		memcpy(line, head, sizeof(head) - 1);
		memcpy(line + len - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
		world->server.echo = true;
		assert_int_equal(kiln__stream_write(world->end, line, len), len);
		settle(world);
		assert_int_equal(world->server.requests, more ? 0 : 1);
		assert_int_equal(world->server.closed, more ? KILN_EPROTO : 0);
		free(line);
		world_free(world);
	}
}

static void an_endless_line_ends_the_connection(void **state)
{
	struct world *world = world_wire(true, 65536, 4 << 20);
	char *block = malloc(3 << 20);

	(void)state;
	assert_non_null(block);
	memset(block, '[', 3 << 20);
	kiln__stream_write(world->end, block, 3 << 20);
	settle(world);
	assert_int_equal(world->server.closed, KILN_EPROTO);
	free(block);
	world_free(world);
}

static void a_server_that_talks_rubbish_fails_the_requests(void **state)
{
	static const char *const lines[] = {
		"rubbish\n",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"inspect\"}\n",
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700}}\n",
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct world *world = world_wire(false, 4096, 1 << 20);
		struct answer answer = {0};

		ask(world, "inspect", NULL, &answer);
		say(world, lines[i]);
		assert_int_equal(answer.count, 1);
		assert_int_equal(answer.code, KILN_EPROTO);
		assert_int_equal(world->client.closed, KILN_EPROTO);
		ask(world, "inspect", NULL, &answer);
		settle(world);
		assert_int_equal(answer.count, 2);
		world_free(world);
	}
}

static void the_peers_end_completes_what_waits(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer answer = {0};

	(void)state;
	greet(world);
	ask(world, "inspect", NULL, &answer);
	settle(world);
	kiln__control_free(kiln__take(world->server.control));
	settle(world);
	assert_int_equal(answer.code, KILN_EDIED);
	assert_int_equal(world->client.closed, KILN_EDIED);
	kiln__control_answer(kiln__take(world->server.call), NULL); /* to no effect */
	world_free(world);
}

static void on_answer_free(void *data, json_t *result, const kiln_error *err)
{
	struct side *side = data;

	assert_true(!result != !err);
	side->requests++;
	kiln__control_free(kiln__take(side->control));
}

static void a_callback_may_free_the_connection(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct kiln__control_request request = {
		.method = "inspect", .answer = on_answer_free, .data = &world->client};

	(void)state;
	world->server.echo = true;
	greet(world);
	for (int i = 0; i < 3; i++)
		assert_int_equal(kiln__control_request(world->client.control, &request, NULL, NULL),
				 0);
	settle(world);
	assert_int_equal(world->client.requests, 1);
	assert_int_equal(world->server.closed, KILN_EDIED);
	world_free(world);

	/* The same from a failure that is known before anything is sent. */
	world = world_new(4096, 1 << 20);
	request.data = &world->client;
	request.method = "levitate";
	greet(world);
	for (int i = 0; i < 3; i++)
		assert_int_equal(kiln__control_request(world->client.control, &request, NULL, NULL),
				 0);
	settle(world);
	assert_int_equal(world->client.requests, 1);
	world_free(world);
}

/* --- bounds --------------------------------------------------------------------------------- */

static void a_peer_that_does_not_read_is_dropped(void **state)
{
	struct world *world = world_wire(true, 4096, 4096);
	char text[1024];

	(void)state;
	kiln__stream_set_handler(world->end, &raw_handler, &world->wire);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 5 * 1024; i++)
		kiln__control_notify(world->server.control, "event", json_pack("{s:s}", "x", text));
	settle(world);
	assert_int_equal(world->server.closed, KILN_EOVERFLOW);
	world_free(world);
}

static void unanswered_requests_are_bounded(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct answer answers[KILN__CONTROL_CALLS_MAX + 10] = {0};

	(void)state;
	greet(world);
	for (int i = 0; i < KILN__CONTROL_CALLS_MAX + 10; i++)
		ask(world, "inspect", NULL, &answers[i]);
	settle(world);
	assert_int_equal(world->server.requests, KILN__CONTROL_CALLS_MAX);
	kiln__control_answer(kiln__take(world->server.call), NULL);
	settle(world);
	assert_int_equal(world->server.requests, KILN__CONTROL_CALLS_MAX + 1);
	kiln__control_answer(kiln__take(world->server.call), NULL);
	kiln__control_free(kiln__take(world->server.control));
	settle(world);
	for (int i = 0; i < KILN__CONTROL_CALLS_MAX + 10; i++)
		assert_int_equal(answers[i].count, 1);
	for (int i = 0; i < KILN__CONTROL_CALLS_MAX; i++)
		if (world->server.earlier[i])
			kiln__control_answer(world->server.earlier[i], NULL);
	world_free(world);
}

/* --- raw streams ------------------------------------------------------------------------------ */

static void after_a_raw_answer_both_ends_have_the_stream(void **state)
{
	(void)state;
	for (size_t chunk = 1; chunk < 100; chunk++) {
		struct world *world = world_new(chunk, 50);
		struct raw at_client = {.got = KILN__BUF_INIT};
		struct raw at_server = {.got = KILN__BUF_INIT};

		greet(world);
		world->server.hold = true;
		ask_raw(world, "exec", &at_client);
		settle(world);
		assert_int_equal(world->server.requests, 1);
		kiln__control_answer_raw(kiln__take(world->server.call), on_raw, &at_server);
		assert_int_equal(at_server.count, 0);
		settle(world);
		world->server.control = world->client.control = NULL;
		assert_non_null(at_client.stream);
		assert_non_null(at_server.stream);
		kiln__stream_write(at_server.stream, "to the client\n", 14);
		kiln__stream_write(at_client.stream, "to the server", 13);
		kiln__stream_shutdown(at_client.stream);
		settle(world);
		assert_string_equal(at_client.got.data, "to the client\n");
		assert_string_equal(at_server.got.data, "to the server");
		assert_true(at_server.eof);
		kiln__stream_close(at_client.stream);
		kiln__stream_close(at_server.stream);
		kiln__buf_done(&at_client.got);
		kiln__buf_done(&at_server.got);
		world_free(world);
	}
}

/* Also between the round in which its answer comes and that in which the stream is handed over. */
static void a_raw_request_is_forgotten_at_any_moment(void **state)
{
	bool was_late = false;

	(void)state;
	for (unsigned moment = 0; !was_late; moment++) {
		struct world *world = world_new(4096, 1 << 20);
		struct raw at_client = {.got = KILN__BUF_INIT};
		struct raw at_server = {.got = KILN__BUF_INIT};
		uint64_t number;

		greet(world);
		world->server.hold = true;
		number = ask_raw(world, "exec", &at_client);
		settle(world);
		kiln__control_answer_raw(kiln__take(world->server.call), on_raw, &at_server);
		for (unsigned i = 0; i < moment; i++)
			kiln_loop_dispatch(world->loop);
		was_late = at_client.count > 0;
		if (!was_late) {
			kiln__control_forget(world->client.control, number);
			settle(world);
			assert_int_equal(at_client.count, 0);
		}
		settle(world);
		assert_int_equal(at_server.count, 1);
		world->server.control = NULL;
		if (was_late)
			world->client.control = NULL;
		kiln__stream_close(at_client.stream);
		kiln__stream_close(at_server.stream);
		world_free(world);
		assert_true(moment < 100);
	}
}

/* What an answer needs is kept until then: 64 of them may wait on each connection. */
static void a_long_id_is_refused(void **state)
{
	struct world *world = world_wire(true, 4096, 1 << 20);
	kiln__autobuf line = KILN__BUF_INIT;

	(void)state;
	kiln__buf_adds(&line, "{\"jsonrpc\":\"2.0\",\"method\":\"inspect\",\"id\":\"");
	for (unsigned i = 0; i < KILN__CONTROL_ID_MAX; i++)
		kiln__buf_addc(&line, 'x');
	kiln__buf_adds(&line, "\"}\n");
	say(world, line.data);
	settle(world);
	assert_int_equal(world->server.requests, 1);
	assert_int_equal(world->server.closed, 0);
	kiln__control_answer(kiln__take(world->server.call), NULL);
	line.len -= 3; /* one more of them */
	kiln__buf_adds(&line, "x\"}\n");
	say(world, line.data);
	settle(world);
	assert_int_equal(world->server.requests, 1);
	assert_int_equal(world->server.closed, KILN_EPROTO);
	world_free(world);
}

static void bytes_behind_a_raw_answer_are_handed_on(void **state)
{
	static const char hello[] =
		"{\"jsonrpc\":\"2.0\",\"method\":\"hello\",\"params\":{\"protocol\":1,"
		"\"version\":\"0\",\"id\":\"x\",\"features\":[\"connect\"]}}\n";
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\nraw\n\nbytes";

	(void)state;
	for (size_t chunk = 1; chunk < 100; chunk++) {
		struct world *world = world_wire(false, chunk, 1 << 20);
		struct raw raw = {.got = KILN__BUF_INIT};

		say(world, hello);
		ask_raw(world, "connect", &raw);
		kiln__stream_write(world->end, text, sizeof(text) - 1);
		kiln__stream_shutdown(world->end);
		settle(world);
		world->client.control = NULL;
		assert_int_equal(raw.count, 1);
		assert_string_equal(raw.got.data, "raw\n\nbytes");
		assert_true(raw.eof);
		kiln__stream_close(raw.stream);
		kiln__buf_done(&raw.got);
		world_free(world);
	}
}

static void nothing_is_read_behind_a_held_request(void **state)
{
	struct world *world = world_wire(true, 4096, 1 << 20);
	struct raw raw = {.got = KILN__BUF_INIT};

	(void)state;
	world->server.hold = true;
	say(world, "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"exec\"}\nnot JSON");
	assert_int_equal(world->server.requests, 1);
	assert_int_equal(world->server.closed, 0);
	kiln__control_answer_raw(kiln__take(world->server.call), on_raw, &raw);
	settle(world);
	world->server.control = NULL;
	assert_string_equal(raw.got.data, "not JSON");
	assert_string_equal(world->wire.got.data,
			    "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":{}}\n");
	kiln__stream_close(raw.stream);
	kiln__buf_done(&raw.got);
	world_free(world);
}

static void after_a_held_request_failed_messages_go_on(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct raw raw = {.got = KILN__BUF_INIT};
	struct answer answer = {0};
	kiln_error err;

	(void)state;
	greet(world);
	world->server.hold = true;
	ask_raw(world, "exec", &raw);
	ask(world, "inspect", NULL, &answer);
	settle(world);
	assert_int_equal(world->server.requests, 1);
	kiln__fail(&err, KILN_ESTATE, "not ready");
	world->server.hold = false;
	world->server.echo = true;
	kiln__control_fail(kiln__take(world->server.call), &err);
	settle(world);
	assert_int_equal(raw.code, KILN_ESTATE);
	assert_int_equal(answer.count, 1);
	world_free(world);
}

static void a_raw_answer_to_a_gone_client_is_dropped(void **state)
{
	struct world *world = world_new(4096, 1 << 20);
	struct raw at_client = {.got = KILN__BUF_INIT};
	struct raw at_server = {.got = KILN__BUF_INIT};

	(void)state;
	greet(world);
	world->server.hold = true;
	world->server.free_when_closed = true;
	ask_raw(world, "exec", &at_client);
	settle(world);
	kiln__control_free(kiln__take(world->client.control));
	settle(world);
	assert_int_equal(world->server.closed, KILN_EDIED);
	kiln__control_answer_raw(kiln__take(world->server.call), on_raw, &at_server);
	settle(world);
	assert_int_equal(at_server.count, 0);
	assert_int_equal(at_client.count, 0);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_arrives_whole_at_every_split),
		cmocka_unit_test(short_writes_lose_nothing),
		cmocka_unit_test(answers_are_matched_by_number_not_by_order),
		cmocka_unit_test(a_forgotten_request_completes_never),
		cmocka_unit_test(notifications_pass),
		cmocka_unit_test(requests_wait_for_the_hello),
		cmocka_unit_test(an_eager_request_does_not_wait),
		cmocka_unit_test(a_method_the_server_does_not_list_is_refused_here),
		cmocka_unit_test(a_newer_protocol_is_refused),
		cmocka_unit_test(an_error_crosses_whole),
		cmocka_unit_test(a_failure_that_is_no_utf8_is_kept),
		cmocka_unit_test(an_unknown_method_is_not_supported),
		cmocka_unit_test(strange_error_objects_make_errors),
		cmocka_unit_test(a_line_that_is_no_request_is_answered_and_ends_the_connection),
		cmocka_unit_test(a_line_is_at_most_a_mebibyte),
		cmocka_unit_test(an_endless_line_ends_the_connection),
		cmocka_unit_test(a_server_that_talks_rubbish_fails_the_requests),
		cmocka_unit_test(the_peers_end_completes_what_waits),
		cmocka_unit_test(a_callback_may_free_the_connection),
		cmocka_unit_test(a_peer_that_does_not_read_is_dropped),
		cmocka_unit_test(unanswered_requests_are_bounded),
		cmocka_unit_test(after_a_raw_answer_both_ends_have_the_stream),
		cmocka_unit_test(a_raw_request_is_forgotten_at_any_moment),
		cmocka_unit_test(a_long_id_is_refused),
		cmocka_unit_test(bytes_behind_a_raw_answer_are_handed_on),
		cmocka_unit_test(nothing_is_read_behind_a_held_request),
		cmocka_unit_test(after_a_held_request_failed_messages_go_on),
		cmocka_unit_test(a_raw_answer_to_a_gone_client_is_dropped),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
